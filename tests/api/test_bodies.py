"""Bodies as real clients send them: of any type, in chunks, broken off. Each was seen to break a server."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import JsonResponse
from gunicorn.http.errors import InvalidChunkSize, NoMoreData

from accounts.models import User
from aliases.issuing import issue
from api.middleware import JsonMiddleware
from tests.api.calls import CREATE, LIST, post

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"", "application/json"),
        (b"  \n", "application/json"),
        (b'{"note": "x"}', ""),
        (b'{"note": "x"}', "text/plain"),
        (b'{"note": "x"}', "application/x-www-form-urlencoded"),
        (b'{"note": "x"}', "multipart/form-data; boundary=x"),
        (b'{"note": "x"}', "application/json; charset=utf-8"),
        (b'{"note": "x"}', "application/json; charset=klingon"),
        (b'{"note": "x"}', "application/json; charset=hex"),
        # one of Python's codecs that takes seconds for 256 KiB
        (b'{"note": "x"}', "application/json; charset=punycode"),
        (b'{"note": "x"}', ";;;="),
        (b'\xef\xbb\xbf{"note": "x"}', "application/json"),
        ('{"note": "x"}'.encode("utf-16"), "application/json; charset=utf-16"),
        ('{"note": "x"}'.encode("latin-1"), 'application/json; charset="ISO-8859-1"'),
    ],
)
def test_a_body_is_read_whatever_its_type_says(key: str, body: bytes, content_type: str) -> None:
    answer = post(key, body=body, content_type=content_type)

    assert answer.status_code == 201
    assert answer.json()["note"] == ("x" if body.strip() else None)


def test_a_search_for_no_text_finds_nothing_and_breaks_nothing(alice: User, key: str) -> None:
    issue(owner=alice)

    answer = post(key, LIST, body=b'{"query": "\\ud800zzz\\u0000"}')

    assert (answer.status_code, answer.json()) == (200, {"aliases": []})


class CutOff(BytesIO):
    """What gunicorn hands over for chunks that end early."""

    def read(self, size: int | None = -1) -> bytes:
        raise NoMoreData()


class NoChunks(BytesIO):
    """What gunicorn hands over for chunks that are none."""

    def read(self, size: int | None = -1) -> bytes:
        raise InvalidChunkSize(b"zz")


def chunked(body: bytes, kind: type[BytesIO] = BytesIO) -> dict[str, Any]:
    """What the edge makes of a request with `Transfer-Encoding: chunked`."""
    return over_the_wire(body, kind, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input_terminated": True})


def over_the_wire(body: bytes, kind: type[BytesIO] = BytesIO, **environ: Any) -> dict[str, Any]:
    """What the edge makes of a request with this body, as gunicorn hands it over."""
    stream = kind(body)
    request = WSGIRequest(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": CREATE,
            "SCRIPT_NAME": "",
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "wsgi.input": stream,
            **environ,
        }
    )
    seen: dict[str, Any] = {"left": None, "body": None}

    def view(request: Any) -> Any:
        seen["body"] = request.read()
        return JsonResponse({})

    seen["answer"] = JsonMiddleware(view)(request)
    seen["left"] = stream.read() if kind is BytesIO else None
    return seen


def test_a_chunked_body_is_read() -> None:
    seen = chunked(b'{"note": "x"}')

    assert seen["body"] == b'{"note": "x"}'


def test_a_chunked_body_over_the_limit_is_refused_before_its_end() -> None:
    seen = chunked(b" " * 1_000_000)

    assert seen["answer"].status_code == 413
    assert seen["body"] is None
    assert len(seen["left"]) > 700_000


@pytest.mark.parametrize("kind", [CutOff, NoChunks])
def test_a_chunked_body_that_cannot_be_read_is_told_in_json(kind: type[BytesIO]) -> None:
    seen = chunked(b"", kind)

    assert seen["answer"].status_code == 400
    assert json.loads(seen["answer"].content) == {"error": "The request is malformed."}
    assert seen["body"] is None


def test_a_body_that_breaks_off_reaches_no_view() -> None:
    seen = over_the_wire(b'{"note":"x"}', CONTENT_LENGTH="50")

    assert seen["answer"].status_code == 400
    assert json.loads(seen["answer"].content) == {"error": "The request is malformed."}
    assert seen["body"] is None
