"""What one client has written, every page takes back: line ends and emojis are counted alike everywhere."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.test import Client, RequestFactory
from hypothesis import given, settings
from hypothesis import strategies as st

import accounts.forms
import aliases.admin
import aliases.forms
import domains.forms
import tokens.forms
from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from aliases.validation import NAME_MAX_CHARACTERS, NOTE_MAX_CHARACTERS, clean_note
from core.forms import TextField
from domains.models import Domain
from tests.conftest import Api
from transfer.checking import clean
from transfer.formats import SIMPLELOGIN, read

pytestmark = pytest.mark.django_db

# 10,000 characters, 15,000 as a form sends them.
LINES = "x\n" * (NOTE_MAX_CHARACTERS // 2)
EMOJIS = "😀" * NOTE_MAX_CHARACTERS


class Inputs(HTMLParser):
    """What a browser that changes nothing sends from a page's fields."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}
        self.lengths: dict[str, str] = {}
        self.area: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name")
        if not name:
            return
        if "maxlength" in given:
            self.lengths[name] = str(given["maxlength"])
        if tag == "textarea":
            self.area, self.values[name] = name, ""
        elif tag == "input" and given.get("type") not in {"checkbox", "submit", "hidden"}:
            self.values[name] = given.get("value") or ""
        elif tag == "input" and given.get("type") == "checkbox" and "checked" in given:
            self.values.setdefault(name, []).append(given.get("value") or "on")

    def handle_data(self, data: str) -> None:
        if self.area:
            self.values[self.area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self.area:
            # HTML: a first line end is no part of the text, and each is sent as CR LF.
            text = self.values[self.area].removeprefix("\n")
            self.values[self.area], self.area = re.sub(r"\r\n|\r|\n", "\r\n", text), None


@pytest.mark.parametrize("note", [LINES + "y", EMOJIS])
def test_a_note_that_the_api_takes_can_be_saved_on_the_page(
    api: Api, alice: User, browser: Client, note: str
) -> None:
    note = note[: NOTE_MAX_CHARACTERS - 1] + "y"
    made = api(alice).post("/api/alias/random/new", {"note": note}, format="json")
    assert made.status_code == 201
    alias = Alias.objects.get()

    page = Inputs()
    page.feed(browser.get(f"/aliases/{alias.pk}/").content.decode())
    answer = browser.post(f"/aliases/{alias.pk}/", {**page.values, "name": "Shop"})

    assert answer.status_code == 302
    alias.refresh_from_db()
    assert (alias.note, alias.name) == (note, "Shop")
    # A browser counts most emojis as two.
    assert not page.lengths.keys() & {"note", "name", "hostname"}


def test_a_name_of_emojis_can_be_saved_on_the_page_and_in_the_admin(
    api: Api, alice: User, browser: Client, root: User
) -> None:
    name = "😀" * NAME_MAX_CHARACTERS
    alias = issue(owner=alice)
    assert api(alice).put(f"/api/aliases/{alias.pk}", {"name": name}, format="json").status_code == 200

    page, its_admin, users_admin = Inputs(), Inputs(), Inputs()
    page.feed(browser.get(f"/aliases/{alias.pk}/").content.decode())
    browser.force_login(root)
    its_admin.feed(browser.get(f"/admin/aliases/alias/{alias.pk}/change/").content.decode())
    users_admin.feed(browser.get(f"/admin/accounts/user/{alice.pk}/change/").content.decode())

    for inputs in (page, its_admin):
        assert inputs.values["name"] == name
    for inputs in (page, its_admin, users_admin):
        assert "name" in inputs.values
        assert "name" not in inputs.lengths


def test_a_note_has_the_same_line_ends_however_it_came(
    api: Api, alice: User, browser: Client, root: User, example_com: Domain
) -> None:
    sent, kept = "one\r\ntwo\rthree\nfour", "one\ntwo\nthree\nfour"
    client = api(alice)
    client.post("/api/alias/random/new", {"note": sent}, format="json")
    client.post("/api/v1/aliases", {"domain": "example.com", "description": sent}, format="json")
    browser.post("/aliases/new/", {"domain": example_com.pk, "note": sent})
    (row,) = clean(read(f'alias,note\nx.y@example.com,"{sent}"\n', SIMPLELOGIN).rows)

    assert list(Alias.objects.values_list("note", flat=True)) == [kept] * 3
    assert row.note == kept

    alias = Alias.objects.first()
    assert alias is not None
    client.patch(f"/api/v1/aliases/{alias.uuid}", {"description": sent + "\r\n5"}, format="json")
    alias.refresh_from_db()
    assert alias.note == kept + "\n5"
    browser.force_login(root)
    browser.post(f"/admin/aliases/alias/{alias.pk}/change/", {"note": sent, "name": "", "hostname": ""})
    alias.refresh_from_db()
    assert alias.note == kept


@settings(max_examples=60)
@given(st.text(st.sampled_from("a\r\n😀 "), max_size=20))
def test_a_form_and_the_rule_agree_on_every_text(text: str) -> None:
    field = TextField(required=False, strip=False, max_length=10)
    as_sent = re.sub(r"\r\n|\r|\n", "\r\n", text)
    kept = clean_note(text)

    assert field.to_python(as_sent) == kept == clean_note(as_sent)
    if len(kept) <= 10:
        assert field.clean(as_sent) == kept
    else:
        with pytest.raises(forms.ValidationError):
            field.clean(as_sent)


def all_forms() -> list[type[forms.BaseForm]]:
    modules = (accounts.forms, aliases.admin, aliases.forms, domains.forms, tokens.forms)
    named = [value for module in modules for value in vars(module).values()]
    return [
        form
        for form in named
        if isinstance(form, type) and issubclass(form, forms.BaseForm) and hasattr(form, "base_fields")
    ]


def test_no_textarea_counts_line_ends_twice(root: User) -> None:
    request = RequestFactory().get("/")
    request.user = root
    made = [form.base_fields for form in all_forms()]
    made += [
        site.get_form(request).base_fields
        for model, site in admin.site._registry.items()
        if model._meta.app_label in {"accounts", "aliases", "contacts", "core", "domains", "mail", "tokens"}
    ]

    wrong = [
        (name, field)
        for fields in made
        for name, field in fields.items()
        if isinstance(field.widget, forms.Textarea)
        and not isinstance(field, TextField)
        and getattr(field, "max_length", None)
    ]

    assert wrong == []
    assert any(isinstance(field.widget, forms.Textarea) for fields in made for field in fields.values())
