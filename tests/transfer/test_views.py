"""The pages of an import, in a browser without JavaScript and with it."""

from dataclasses import replace
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from aliases.issuing import issue_chosen
from aliases.models import Alias
from tests.rig.pages import HTMX
from tests.transfer.samples import ADDY_CSV, SIMPLELOGIN_CSV
from transfer import importing
from transfer import views as import_views
from transfer.formats.text import FILE_MAX_BYTES
from transfer.models import PendingImport

pytestmark = pytest.mark.django_db

URL = "/aliases/import/"


def upload(browser: Client, text: str | bytes, name: str = "aliases.csv") -> HttpResponse:
    data = text.encode() if isinstance(text, str) else text
    return browser.post(URL, {"file": SimpleUploadedFile(name, data)}, follow=True)  # type: ignore[return-value]


def simplelogin(*addresses: str) -> str:
    return "alias,note\n" + "".join(f"{address},\n" for address in addresses)


def test_a_file_is_looked_at_and_then_imported(browser: Client, alice: User) -> None:
    seen = upload(browser, ADDY_CSV).content.decode()
    made_before = Alias.objects.count()
    answer = browser.post(f"{URL}make/", follow=True)

    assert "3 aliases can be imported" in seen
    assert "shop@example.com" in seen
    assert "your primary address" in seen
    assert made_before == 0
    assert "3 aliases are imported." in answer.content.decode()
    assert Alias.objects.owned_by(alice).count() == 3
    assert not PendingImport.objects.exists()


def test_rows_that_are_wrong_are_listed_and_nothing_is_made(browser: Client) -> None:
    seen = upload(browser, SIMPLELOGIN_CSV + "root@example.com,,True,\n").content.decode()
    answer = browser.post(f"{URL}make/", follow=True)

    assert "2 rows have errors." in seen
    assert '<span class="muted">Line 2</span>' in seen
    assert '<span class="address">shop.one@example.com</span>' in seen
    assert "This name is reserved." in seen
    assert "Nothing was imported" in answer.content.decode()
    assert not Alias.objects.exists()


def test_what_is_wrong_can_be_left_out_at_a_word(browser: Client) -> None:
    wrong = upload(browser, simplelogin("root@example.com", "a@example.com", "x@gone.test")).content.decode()
    seen = browser.post(f"{URL}leave-out/", follow=True).content.decode()
    before = Alias.objects.count()
    browser.post(f"{URL}make/")

    assert "Skip them (1 row remains)" in wrong
    assert "1 alias can be imported" in seen
    assert "2 rows of the file are skipped." in seen
    assert before == 0
    assert [alias.address for alias in Alias.objects.all()] == ["a@example.com"]


def test_where_all_is_wrong_nothing_can_be_left_out(browser: Client) -> None:
    wrong = upload(browser, simplelogin("root@example.com")).content.decode()
    again = browser.post(f"{URL}leave-out/", follow=True).content.decode()

    assert "Skip them" not in wrong
    assert "1 row has an error." in again


def test_another_file_can_be_chosen(browser: Client) -> None:
    upload(browser, simplelogin("root@example.com"))

    page = browser.post(f"{URL}cancel/", follow=True).content.decode()

    assert 'type="file"' in page
    assert not PendingImport.objects.exists()


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("a,b\n1,2\n", "The first line names no column that is known here."),
        ("", "Choose a file first."),
        ("alias\n", "There are no aliases in the file."),
        (b"alias\n\x00\n", "Line 2 of the file contains a NUL character"),
        (b"alias\n\xff\n", "The file is not text in UTF-8. Save it as “CSV UTF-8” and choose it again."),
        ('alias\n"open\n', "is not valid CSV: look for a quotation mark"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(
    browser: Client, file: str | bytes, sentence: str
) -> None:
    data = file.encode() if isinstance(file, str) else file
    answer = browser.post(URL, {"file": SimpleUploadedFile("x.csv", data)} if data else {})

    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert not PendingImport.objects.exists()


def test_a_body_that_is_said_to_be_a_gigabyte_is_not_read(browser: Client) -> None:
    class Unread(BytesIO):
        def read(self, *size: int) -> bytes:
            raise AssertionError("the body was read")

    answer = browser.generic("POST", URL, b"", "multipart/form-data; boundary=x", CONTENT_LENGTH=str(2**30))
    unread = browser.generic(
        "POST",
        URL,
        b"",
        "multipart/form-data; boundary=x",
        **{"CONTENT_LENGTH": str(2**30), "wsgi.input": Unread()},
    )

    for refused in (answer, unread):
        assert refused.status_code == 413
        assert "at most 10 MB" in refused.content.decode()


def test_a_length_that_is_no_number_is_no_length(browser: Client) -> None:
    answer = browser.generic("POST", URL, b"", "multipart/form-data; boundary=x", CONTENT_LENGTH="²")

    assert answer.status_code == 413


def test_the_page_of_a_file_that_is_ready_reads_and_checks_nothing_again(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(browser, b"alias\n" + b"".join(b"x%d@example.com\n" % number for number in range(9)))
    monkeypatch.setattr("transfer.views.SHOWN", 3)
    monkeypatch.setattr("transfer.checking.check_name", lambda name: pytest.fail("it was checked again"))
    monkeypatch.setattr("transfer.importing.read", lambda text, format: pytest.fail("it was read again"))

    page = browser.get(URL).content.decode()

    assert "x2@example.com" in page
    assert "x3@example.com" not in page


def test_a_file_that_is_too_large_is_refused(browser: Client) -> None:
    answer = upload(browser, b"alias\n" + b"x" * FILE_MAX_BYTES)

    assert answer.status_code == 413
    assert not PendingImport.objects.exists()


def test_too_many_files_are_told_to_wait(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "UPLOADS", replace(importing.UPLOADS, amount=1))
    upload(browser, simplelogin("a@example.com"))

    answer = upload(browser, simplelogin("a@example.com"))

    assert answer.status_code == 429
    assert "Too many files for now." in answer.content.decode()


def test_a_long_check_shows_how_far_it_is(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With htmx a second at a time, the fragment asking for the next by itself."""
    monkeypatch.setattr(importing, "BATCH", 2)
    monkeypatch.setattr(importing.check_rows, "__defaults__", (0.0,))
    page = upload(browser, simplelogin(*(f"{letter}@example.com" for letter in "acdef"))).content.decode()
    fragments = [browser.post(f"{URL}check/", headers=HTMX).content.decode() for _ in range(2)]

    assert '<progress id="import-progress" value="2" max="5">' in page
    assert 'hx-trigger="load"' in page
    assert '<progress id="import-progress" value="4" max="5">' in fragments[0]
    assert "<html" not in fragments[0]
    assert "5 aliases can be imported" in fragments[1]
    assert 'hx-trigger="load"' not in fragments[1]


def test_without_javascript_one_button_checks_the_rest(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    monkeypatch.setattr(importing.check_rows, "__defaults__", (0.0,))
    page = upload(browser, simplelogin(*(f"{letter}@example.com" for letter in "acdefg"))).content.decode()

    answer = browser.post(f"{URL}check/", follow=True)

    assert "Check the rest" in page
    assert "6 aliases can be imported" in answer.content.decode()


def test_what_is_not_checked_yet_is_not_made(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    monkeypatch.setattr(importing.check_rows, "__defaults__", (0.0,))
    upload(browser, simplelogin("a@example.com", "c@example.com"))

    browser.post(f"{URL}make/")

    assert not Alias.objects.exists()


def test_with_htmx_the_whole_page_goes_on(browser: Client) -> None:
    upload(browser, simplelogin("a@example.com"))

    made = browser.post(f"{URL}make/", headers=HTMX)
    again = browser.post(f"{URL}make/", headers=HTMX)
    gone = browser.post(f"{URL}check/", headers=HTMX)

    assert made["HX-Redirect"] == "/aliases/"
    assert again["HX-Redirect"] == gone["HX-Redirect"] == URL
    assert Alias.objects.count() == 1


def test_what_changed_since_the_check_is_told(browser: Client, alice: User) -> None:
    upload(browser, simplelogin("a@example.com", "c@example.com"))
    issue_chosen(owner=alice, prefix="c")

    answer = browser.post(f"{URL}make/", follow=True).content.decode()

    assert "1 row has an error." in answer
    assert "This alias already exists here." in answer
    assert "The check stopped there" not in answer
    assert Alias.objects.count() == 1


def test_nobody_sees_or_imports_anothers_file(browser: Client, mallory: User) -> None:
    upload(browser, simplelogin("a@example.com"))
    stranger = Client()
    stranger.force_login(mallory)

    page = stranger.get(URL).content.decode()
    stranger.post(f"{URL}make/")
    stranger.post(f"{URL}cancel/")

    assert "a@example.com" not in page
    assert PendingImport.objects.count() == 1
    assert not Alias.objects.exists()


def test_what_is_in_a_file_is_no_markup(browser: Client) -> None:
    text = 'alias,note\n"<b>@example.com",\na@example.com,<script>x</script>\n'
    wrong = upload(browser, text, "<i>.csv").content.decode()
    right = upload(browser, "alias,note\na@example.com,<script>x</script>\n").content.decode()

    assert "&lt;b&gt;@example.com" in wrong
    assert "&lt;i&gt;.csv" in wrong
    assert "&lt;script&gt;x&lt;/script&gt;" in right


def test_of_many_rows_some_are_shown(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_views, "SHOWN", 2)
    right = upload(browser, simplelogin(*(f"{letter}@example.com" for letter in "acdef"))).content.decode()
    wrong = upload(browser, simplelogin(*(f"{letter}@no.test" for letter in "acdef"))).content.decode()

    for page in (right, wrong):
        assert "c@" in page
        assert "d@" not in page
        assert "… and 3 more." in page
