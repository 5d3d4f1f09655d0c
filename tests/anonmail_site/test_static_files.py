"""What the pages load of our own, and what a process finds of it that came after its start."""

from pathlib import Path

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from anonmail_site.static_files import StaticFilesMiddleware

# The end of an answer looks after the connections to the database.
pytestmark = pytest.mark.django_db

DIGEST = "0123456789ab"


@pytest.mark.parametrize(("kind", "octets_max"), [("js", 10_000), ("css", 30_000)])
def test_scripts_and_styles_stay_small(kind: str, octets_max: int) -> None:
    files = list((settings.BASE_DIR / "static").glob(f"**/*.{kind}"))

    assert files
    assert sum(file.stat().st_size for file in files) < octets_max


@pytest.fixture
def served(tmp_path: Path, settings: Settings) -> StaticFilesMiddleware:
    """What a process serves that has started before there was any file."""
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()

    def other_middleware(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=404)

    return StaticFilesMiddleware(other_middleware)


def answer(served: StaticFilesMiddleware, path: str) -> tuple[int, bytes]:
    request = RequestFactory().get("/")
    request.path_info = path
    response = served(request)
    content = b"".join(response) if response.streaming else response.content
    response.close()
    return response.status_code, content


def test_a_file_of_the_next_release_is_found(
    served: StaticFilesMiddleware, settings: Settings, tmp_path: Path
) -> None:
    name = f"css/site.{DIGEST}.css"
    assert answer(served, f"/static/{name}")[0] == 404

    file = tmp_path / "static" / name
    file.parent.mkdir()
    file.write_bytes(b"p {}")

    assert answer(served, f"/static/{name}") == (200, b"p {}")
    # Once found, it is not looked for again.
    file.unlink()
    assert f"/static/{name}" in served.files


@pytest.mark.parametrize(
    "path",
    [
        # Its content can change, and somebody may be writing it just now.
        "/static/site.css",
        f"/static/../secret.{DIGEST}.css",
        f"/static/directory/../../secret.{DIGEST}.css",
        f"/static//secret.{DIGEST}.css",
        f"/static/..\\secret.{DIGEST}.css",
        f"/secret.{DIGEST}.css",
        f"/static/directory.{DIGEST}.css",
        f"/static/nul\0.{DIGEST}.css",
        f"/static/{'x' * 5000}.{DIGEST}.css",
        f"/static/site.{DIGEST}.css\n",
        f"/static/site.{DIGEST}.css.gz",
    ],
)
def test_nothing_else_is_served(served: StaticFilesMiddleware, tmp_path: Path, path: str) -> None:
    for name in ("site.css", f"site.{DIGEST}.css", f"site.{DIGEST}.css.gz"):
        (tmp_path / "static" / name).write_bytes(b"a style")
    (tmp_path / "static" / "directory").mkdir()
    (tmp_path / "static" / f"directory.{DIGEST}.css").mkdir()
    (tmp_path / f"secret.{DIGEST}.css").write_bytes(b"a secret")

    assert answer(served, path) == (404, b"")
    assert served.files == {}
