"""What real clients send and need: each line is a way in which a server was seen to break one."""

import json
import logging
from io import BytesIO, StringIO
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db import OperationalError
from django.test import Client
from django.urls import get_resolver
from gunicorn.http.errors import InvalidChunkSize, NoMoreData
from pytest_django import Settings

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from api.middleware import JsonMiddleware
from api.query import read_query
from core.logs import RedactingFormatter
from tests.conftest import Api
from tokens.models import Token
from tokens.scopes import EVERYTHING

pytestmark = pytest.mark.django_db

CREATE = "/api/alias/random/new"


@pytest.fixture
def key(alice: User) -> str:
    return f"{alice.email}:{Token.objects.issue(owner=alice, name='tests', scopes=EVERYTHING)[1]}"


def post(key: str, path: str = CREATE, body: bytes = b"", content_type: str = "", **extra: Any) -> Any:
    headers = {"Authentication": key, **extra.pop("headers", {})}
    client = Client(raise_request_exception=False)
    # PATH_INFO: the test client would take what follows two slashes for a host
    extra.setdefault("PATH_INFO", path.partition("?")[0])
    return client.generic("POST", path, body, content_type=content_type, headers=headers, **extra)


@pytest.mark.parametrize(
    "path",
    [
        "/api/alias/random/new",
        "/api/alias/random/new/",
        "//api/alias/random/new",
        "///api/alias/random/new/",
        "/api//alias/random//new",
    ],
)
def test_the_path_is_served_as_clients_write_it_without_a_redirect(key: str, path: str) -> None:
    answer = post(key, path)

    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"


ENDS_THE_KEY = {("/api/logout", "GET"), ("/api/logout", "HEAD"), ("/api/auth/logout", "POST")}


@pytest.mark.sqlite
def test_no_path_of_the_api_ever_redirects(key: str) -> None:
    api = next(pattern for pattern in get_resolver().url_patterns if str(pattern.pattern) == "api/")
    for pattern in api.url_patterns:  # type: ignore[union-attr]
        path = "/api/" + str(pattern.pattern).replace("<key:key>", "1")
        path = path.replace("<id:uuid>", "50c9e585-e7f5-41c4-9016-9014c15454bc")
        for url in (path, f"{path}/", f"/{path}"):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
                if (path, method) in ENDS_THE_KEY:
                    continue
                answer = Client().generic(method, url, PATH_INFO=url, headers={"Authentication": key})
                assert answer.status_code not in range(300, 400), (method, url)
                is_csv = (
                    path == "/api/export/aliases" and method in {"GET", "HEAD"} and answer.status_code == 200
                )
                media_type = "text/csv; charset=utf-8" if is_csv else "application/json"
                assert answer["Content-Type"] == media_type, (method, url)


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


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense", ""])
@pytest.mark.parametrize("query", ["", "?format=html", "?format=api"])
def test_the_answer_is_json_whatever_the_client_accepts(key: str, accept: str, query: str) -> None:
    answer = post(key, CREATE + query, headers={"Accept": accept})

    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert not answer.content.startswith(b"\xef\xbb\xbf")
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [CREATE, f"/{CREATE}", "/api/user_info", "/api/nothing"])
@pytest.mark.parametrize("origin", ["https://vault.bitwarden.com", "chrome-extension://abcdef", "null"])
def test_a_preflight_needs_no_key(path: str, origin: str) -> None:
    answer = Client().options(
        path,
        PATH_INFO=path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authentication,content-type",
        },
    )

    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "authentication" in answer["Access-Control-Allow-Headers"]
    assert "POST" in answer["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer


def test_options_without_origin_names_the_methods() -> None:
    answer = Client().options(CREATE)

    assert answer.status_code == 204
    assert answer["Allow"] == "POST, OPTIONS"


def test_a_head_is_a_get_without_its_body(key: str) -> None:
    answer = Client().head("/api/user_info", headers={"Authentication": key})

    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer.content == b""
    assert Client().head(CREATE, headers={"Authentication": key}).status_code == 405


def test_a_client_without_user_agent_and_site_gets_an_alias(key: str) -> None:
    """Bitwarden on Android: no User-Agent, `hostname` there and empty."""
    answer = post(key, f"{CREATE}?hostname=")

    assert "HTTP_USER_AGENT" not in answer.wsgi_request.META
    assert answer.status_code == 201


@pytest.mark.parametrize("path", [CREATE, f"/{CREATE}"])
def test_https_does_not_redirect_the_api(key: str, path: str, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True

    assert Client().get("/accounts/login/").status_code == 301
    assert post(key, path).status_code == 201


def test_the_methods_are_named_when_another_is_used(key: str) -> None:
    answer = Client().put(CREATE, headers={"Authentication": key})

    assert (answer.status_code, answer["Allow"]) == (405, "POST, OPTIONS")


def test_every_answer_has_the_cors_headers(
    key: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    origin = {"Origin": "https://vault.example.com"}
    answers = [
        post(key, headers=origin),
        post("wrong", headers=origin),
        post(key, f"{CREATE}?domain=unknown.test", headers=origin),
        post(key, "/api/nothing", headers=origin),
        post(key, body=b" " * 300_000, headers=origin),
        Client().get(CREATE, headers={"Authentication": key, **origin}),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("api.simplelogin.aliases.issue", lambda *args, **kwargs: 1 / 0)
        answers.append(post(key, headers=origin))
        patch.setattr("api.simplelogin.aliases.issue", away)
        answers.append(post(key, headers=origin))
    settings.ALIASES_PER_HOUR = 0
    answers.append(post(key, headers=origin))

    assert [answer.status_code for answer in answers] == [201, 401, 404, 404, 413, 405, 500, 503, 429]
    assert {answer["Access-Control-Expose-Headers"] for answer in answers} == {"Retry-After"}
    assert {answer["Access-Control-Allow-Origin"] for answer in answers} == {"*"}
    assert "Access-Control-Allow-Origin" not in Client().get("/accounts/login/", headers=origin)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("hostname=github.com", {"hostname": "github.com"}),
        ("hostname=", {"hostname": ""}),
        (
            "hostname=https%3A%2F%2Fa.test%2F%3Fx%3D1&mode=uuid",
            {"hostname": "https://a.test/?x=1", "mode": "uuid"},
        ),
        # Bitwarden 2026.6: the page's whole URL, unescaped. Its own query is not for us.
        (
            "hostname=https://a.test/?x=1&mode=zzz&domain=evil.test&hostname=b.test",
            {"hostname": "https://a.test/?x=1&mode=zzz&domain=evil.test&hostname=b.test"},
        ),
        (
            "mode=word&hostname=https://a.test/?mode=uuid",
            {"mode": "word", "hostname": "https://a.test/?mode=uuid"},
        ),
        ("domain=a.test&domain=b.test", {"domain": "a.test"}),
        ("%00=%ff&&&=&hostname", {"\x00": "�", "": "", "hostname": ""}),
    ],
)
def test_a_query_is_read_as_it_was_meant(query: str, expected: dict[str, str]) -> None:
    assert read_query(query) == expected


def test_a_pages_own_query_changes_nothing(key: str) -> None:
    answer = post(key, f"{CREATE}?hostname=https://u:p@a.test/?x=1&mode=uuid&domain=evil.test")

    alias = Alias.objects.get()
    assert answer.status_code == 201
    assert alias.hostname == "a.test"
    assert alias.address.startswith("a.")
    assert alias.note == "Website: a.test"


@pytest.mark.parametrize("mode", ["zzz", "", "UUID", "%00"])
def test_a_stray_mode_is_ignored(key: str, mode: str) -> None:
    alias = post(key, f"{CREATE}?hostname=github.com&mode={mode}").json()["alias"]

    assert alias.startswith("github.")


def test_mode_chooses_between_words_and_uuid(alice: User, key: str) -> None:
    from aliases.models import AliasPreferences

    assert len(post(key, f"{CREATE}?mode=uuid").json()["alias"].partition("@")[0]) == 36
    AliasPreferences.objects.create(user=alice, style="uuid")
    assert len(post(key, CREATE).json()["alias"].partition("@")[0]) == 36
    assert post(key, f"{CREATE}?hostname=github.com&mode=word").json()["alias"].startswith("github.")


@pytest.mark.parametrize(
    "hostname", ["", "not%20a%20url", "[::1]:9000", "x" * 10_000, "%00%01", "🦄", "com.example.app", "?", "%"]
)
def test_no_hostname_is_a_reason_to_refuse(key: str, hostname: str) -> None:
    assert post(key, f"{CREATE}?hostname={hostname}").status_code == 201


def test_our_extensions_choose_domain_and_destinations(alice: User, key: str, other_org: Any) -> None:
    from allauth.account.models import EmailAddress

    other_org.grant(alice)
    EmailAddress.objects.create(user=alice, email="alice@home.test", verified=True)
    both = ["ALICE@home.test", "alice@example.com", "alice@home.test"]

    in_body = post(key, body=json.dumps({"domain": "OTHER.org", "destination": both}).encode()).json()
    in_query = post(key, f"{CREATE}?domain=other.org", body=b'{"destination": "alice@home.test"}').json()

    assert in_body["alias"].endswith("@other.org")
    assert [box["email"] for box in in_body["mailboxes"]] == ["alice@home.test", "alice@example.com"]
    assert in_query["alias"].endswith("@other.org")
    assert in_query["mailbox"]["email"] == "alice@home.test"


def test_a_note_is_kept_whole_up_to_ten_thousand_characters(key: str) -> None:
    note = "ü☃\n\t" * 2500

    answer = post(key, body=json.dumps({"note": note}).encode())

    assert answer.json()["note"] == note


def test_the_note_of_a_password_manager_keeps_no_url(key: str) -> None:
    note = "Website: https://u:p@shop.test/cart?session=secret. Generated by Bitwarden."

    answer = post(key, body=json.dumps({"note": note}).encode())

    assert answer.json()["note"] == "Website: shop.test. Generated by Bitwarden."


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_no_header_changes_the_method(alice: User, key: str, name: str) -> None:
    alias = issue(owner=alice)

    answer = post(key, f"/api/aliases/{alias.pk}", headers={name: "DELETE"})

    alias.refresh_from_db()
    assert answer.status_code == 405
    assert not alias.is_deleted


@pytest.mark.parametrize("debug", [False, True])
def test_a_crash_is_told_in_json_and_logged_without_names(
    alice: User, key: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.getLogger().addHandler(handler)

    def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError(f"boom {alice.email} {key.partition(':')[2]}")

    with monkeypatch.context() as patch:
        patch.setattr("api.simplelogin.aliases.issue", crash)
        answer = post(key, f"{CREATE}?hostname=secret-site.test")
    logging.getLogger().removeHandler(handler)

    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {"error": "Something went wrong on our side. It is logged; try again later."}
    assert "RuntimeError: boom [address] [secret]" in log.getvalue()
    assert "secret-site" not in log.getvalue()


def test_a_wrong_host_header_is_told_in_json(key: str) -> None:
    answer = post(key, HTTP_HOST="evil.test")

    assert answer.status_code == 400
    assert answer.json() == {"error": "The request is malformed."}


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
        from django.http import JsonResponse

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


def test_a_search_for_no_text_finds_nothing_and_breaks_nothing(alice: User, key: str) -> None:
    issue(owner=alice)

    answer = post(key, "/api/v2/aliases?page_id=0", body=b'{"query": "\\ud800zzz\\u0000"}')

    assert (answer.status_code, answer.json()) == (200, {"aliases": []})


def test_no_session_or_csrf_code_runs_for_the_api(
    alice: User, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, request: object) -> None:
        pytest.fail("a request for the API came to a middleware of the pages")

    monkeypatch.setattr("django.contrib.sessions.middleware.SessionMiddleware.process_request", fail)
    monkeypatch.setattr("django.middleware.csrf.CsrfViewMiddleware.process_request", fail)
    client = api(alice)
    client.cookies["sessionid"] = "x" * 32

    assert client.get("/api/user_info").status_code == 200
    assert client.post("/api/alias/random/new").status_code == 201
    with pytest.raises(pytest.fail.Exception):
        client.get("/aliases/")


def test_no_page_shows_an_answer_of_the_api(alice: User, api: Api) -> None:
    for answer in (api(alice).get("/api/user_info"), Client().get("/api/nothing")):
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
