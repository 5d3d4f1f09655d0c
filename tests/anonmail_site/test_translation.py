"""German: every string that people read is translated, and a browser that asks for it gets it."""

import ast
import gettext
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation
from django.utils.translation.template import templatize

from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias, NameSpace
from contacts.models import Contact
from domains.models import Domain
from tests.e2e.scenes import SCENES, Scene
from tests.e2e.stage import set_stage
from tokens.models import Token
from transfer.models import PendingImport

CATALOG = Path(settings.BASE_DIR) / "locale" / "de" / "LC_MESSAGES" / "django.po"
TO_UPDATE = (
    "Run `manage.py makemessages -l de --no-location -i tests -i bench -i var -i .venv`, translate what is "
    "empty in locale/de/LC_MESSAGES/django.po, then `manage.py compilemessages -i .venv` (Debian: gettext)."
)
PLACEHOLDER = re.compile(r"%\(\w+\)s")
# Shorter ones may be a word of both languages.
SENTENCE_MIN = 12

Key = tuple[str, str]


@dataclass
class Entry:
    """One entry of a catalog; `translations` has one text, or two where there is a plural."""

    context: str = ""
    message: str = ""
    plural: str = ""
    translations: list[str] = field(default_factory=list)
    flags: str = ""

    @property
    def key(self) -> Key:
        return self.context, self.message


def read_po(path: Path) -> list[Entry]:
    """The entries of a .po file, without its header. Reads what msgcat writes."""
    entries = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        entry, texts, name = Entry(), dict[str, str](), ""
        for line in block.split("\n"):
            if line.startswith("#"):
                entry.flags += line
                continue
            if not line.startswith('"'):
                name, _space, line = line.partition(" ")
            texts[name] = texts.get(name, "") + ast.literal_eval(line)
        if not texts:
            continue  # obsolete entries: comments only
        entry.context, entry.message = texts.get("msgctxt", ""), texts["msgid"]
        entry.plural = texts.get("msgid_plural", "")
        entry.translations = [text for name, text in texts.items() if name.startswith("msgstr")]
        entries.append(entry)
    return [entry for entry in entries if entry.message]


ENTRIES = read_po(CATALOG)

# --- The catalog -------------------------------------------------------------------------------

FUNCTIONS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy"}
_STRING = r"""(u?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))"""
_CALL = re.compile(rf"(n?p?gettext|_)\(\s*{_STRING}(?:\s*,\s*{_STRING})?")


def marked_in_python(source: str) -> Iterator[Key]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in FUNCTIONS:
            texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            assert texts, f"line {node.lineno}: only literal strings can be found and translated"
            yield (texts[0], texts[1]) if node.func.id.startswith("p") else ("", texts[0])


def marked_in_template(source: str) -> Iterator[Key]:
    for name, first, second in _CALL.findall(templatize(source)):
        texts = [ast.literal_eval(text) for text in (first, second) if text]
        # A template's own "%" is doubled on its way.
        message = texts[1] if "p" in name.removesuffix("gettext") else texts[0]
        yield (texts[0] if message != texts[0] else ""), message.replace("%%", "%")


def test_every_marked_string_is_in_the_catalog() -> None:
    marked: dict[Key, str] = {}
    base = Path(settings.BASE_DIR)
    apps = [base / app for app in settings.INSTALLED_APPS if (base / app).is_dir()]
    for file in [file for app in apps for file in app.rglob("*.py")]:
        if "migrations" not in file.parts:
            marked |= dict.fromkeys(marked_in_python(file.read_text()), str(file.relative_to(base)))
    for file in [*base.glob("templates/**/*.html"), *base.glob("templates/**/*.txt")]:
        marked |= dict.fromkeys(marked_in_template(file.read_text()), str(file.relative_to(base)))

    known = {entry.key for entry in ENTRIES}

    assert len(marked) > 300
    assert {key: file for key, file in marked.items() if key not in known} == {}, TO_UPDATE


def test_no_entry_is_empty_or_a_guess() -> None:
    unfinished = [
        entry.message
        for entry in ENTRIES
        if "fuzzy" in entry.flags
        or not all(entry.translations)
        or len(entry.translations) != (2 if entry.plural else 1)
    ]

    assert unfinished == [], TO_UPDATE


def test_no_entry_loses_a_placeholder_or_its_final_stop() -> None:
    wrong = [
        translated
        for entry in ENTRIES
        for original, translated in zip(
            [entry.message, entry.plural or entry.message], entry.translations, strict=False
        )
        if sorted(PLACEHOLDER.findall(original)) != sorted(PLACEHOLDER.findall(translated))
        or original.endswith((".", "?", ":")) != translated.endswith((".", "?", ":"))
        and original != "Your alias will look like"
    ]

    assert wrong == []


def test_readers_are_addressed_with_du() -> None:
    formal = re.compile(r"[^.:] (Sie|Ihnen|Ihre?)\b")  # at a sentence's beginning it may be "they"

    found = [text for entry in ENTRIES for text in entry.translations if formal.search(text)]

    assert found == []


def test_what_is_compiled_is_what_is_written() -> None:
    with CATALOG.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    written = {}
    for entry in ENTRIES:
        name = f"{entry.context}\x04{entry.message}" if entry.context else entry.message
        if entry.plural:
            written |= {(name, number): text for number, text in enumerate(entry.translations)}
        else:
            written[name] = entry.translations[0]

    messages = {name: text for name, text in compiled._catalog.items() if name}  # type: ignore[attr-defined]

    assert messages == written, TO_UPDATE


# --- The pages ---------------------------------------------------------------------------------


class VisibleText(HTMLParser):
    """Collects the texts of a page that people read or hear."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.hidden = 0
        self.language = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "html":
            self.language = given.get("lang") or ""
        if tag in {"script", "style", "template"}:
            self.hidden += 1
        self.texts += [text for name in ("aria-label", "placeholder", "title") if (text := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style", "template"}:
            self.hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self.hidden and (text := " ".join(data.split())):
            self.texts.append(text)


def read(html: str) -> VisibleText:
    page = VisibleText()
    page.feed(html)
    return page


def untranslated_pattern() -> re.Pattern[str]:
    """Any English sentence of the catalog, whatever stands in its placeholders."""
    sentences = []
    for entry in ENTRIES:
        for message in filter(None, (entry.message, entry.plural)):
            text = re.sub(r"<[^>]+>", "", message)
            if len(PLACEHOLDER.sub("", text)) > SENTENCE_MIN and message not in entry.translations:
                sentences.append(".{1,200}?".join(map(re.escape, PLACEHOLDER.split(" ".join(text.split())))))
    return re.compile("|".join(f"(?:{sentence})" for sentence in sentences))


# Texts of more than one word that are the same in both languages: what people wrote, names, addresses,
# records of the DNS, and what other servers said.
SAME = re.compile(
    r"@|https?://|curl |^\W*$|^Passkeys – Anonmail$|v=(spf1|DKIM1|DMARC1)|^DKIM, |^“?55\d 5\."
    r"|\{\{subject\}\}|^John Wick$|wick\.example$|^([0-9A-F]{4} ?){10}$"
)


@pytest.mark.django_db
def test_every_page_is_german_for_who_reads_german() -> None:
    stage = set_stage()
    untranslated = untranslated_pattern()
    written = {alias.note for alias in Alias.objects.all()} | {token.name for token in Token.objects.all()}
    written |= {contact.name for contact in Contact.objects.all()}
    written |= {" ".join(space.names.split()) for space in NameSpace.objects.all()}
    written |= {space.note for space in NameSpace.objects.all()}
    # What is wrong with a file is kept in the language of whoever had it checked.
    files = PendingImport.objects.all()
    written |= {problem.reason for pending in files for problem in pending.problems_in_order}
    written |= {reason for pending in files for _line, _what, reason in pending.preview.get("left_out", ())}
    windows: dict[tuple[str | None, bool, str], Client] = {}

    def visit(scene: Scene, language: str) -> VisibleText:
        key = (scene.who, scene.is_half_signed_in, language)
        if key not in windows:
            windows[key] = scene.client(stage, headers={"Accept-Language": language})
        return read(windows[key].get(scene.path(stage), follow=True).content.decode())

    problems = []
    for scene in SCENES:
        german, english = visit(scene, "de-DE,de;q=0.9,en;q=0.5"), visit(scene, "en-GB,en;q=0.9")
        if (german.language, english.language) != ("de", "en"):
            problems.append(f"{scene.name}: lang={german.language}, lang={english.language}")
        if found := untranslated.search(" ".join(text for text in german.texts if text not in written)):
            problems.append(f"{scene.name}: {found[0]}")
        if not untranslated.search(" ".join(english.texts)):
            problems.append(f"{scene.name}: its English would not be noticed")
        # What is not even marked reads the same in both languages.
        same = {text for text in german.texts if text in english.texts and " " in text}
        problems += [
            f"{scene.name}: the same in both: {text}" for text in same - written if not SAME.search(text)
        ]

    assert problems == []


def test_the_page_after_a_crash_is_german_too(
    alice: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(alice)
    client.raise_request_exception = False
    monkeypatch.setattr("aliases.views.first_page", lambda *args: 1 / 0)

    answer = client.get("/aliases/", headers={"Accept-Language": "de"})

    assert answer.status_code == 500
    assert '<html lang="de">' in answer.content.decode()
    assert "Auf unserer Seite ist etwas schiefgegangen." in answer.content.decode()


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_many_are_told_apart(alice: User, client: Client, count: int) -> None:
    client.force_login(alice)
    keys = [issue(owner=alice).pk for _ in range(count)]
    german = {"Accept-Language": "de"}

    client.post("/aliases/bulk/", {"action": "delete", "selected": keys}, headers=german)
    page = client.get("/aliases/", headers=german).content.decode()

    assert {1: "1 Alias ist gelöscht.", 2: "2 Aliase sind gelöscht."}[count] in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("fr, de;q=0.5", "de"),
        ("en-GB, de;q=0.5", "en"),
        ("fr", "en"),
        ("tlh", "en"),
        ("*", "en"),
        ("", "en"),
    ],
)
def test_the_browser_chooses_and_english_is_for_everybody_else(
    client: Client, asked: str, language: str
) -> None:
    answer = client.get("/accounts/login/", headers={"Accept-Language": asked})

    assert (read(answer.content.decode()).language, answer["Content-Language"]) == (language, language)
    assert "Accept-Language" in answer["Vary"]


def test_a_fragment_names_the_shape_in_german(alice: User, client: Client) -> None:
    client.force_login(alice)

    answer = client.get("/aliases/shape/?hostname=word.test", headers={"Accept-Language": "de"})

    assert "word.‹Wort›@example.com" in answer.content.decode()


# --- The API -----------------------------------------------------------------------------------


def vary(answer: object) -> set[str]:
    return {name.strip().lower() for name in answer["Vary"].split(",")}  # type: ignore[index]


def test_the_api_refuses_in_the_clients_language(mallory: User, api: object, other_org: Domain) -> None:
    client = api(mallory)  # type: ignore[operator]

    german = client.post("/api/alias/random/new", headers={"Accept-Language": "de"})
    english = client.post("/api/alias/random/new")

    assert (german.status_code, english.status_code) == (403, 403)
    assert german.json()["error"].startswith("Es gibt keine Domain, auf der du Aliase erstellen darfst.")
    assert english.json()["error"].startswith("There is no domain on which you may create aliases.")
    assert "accept-language" in vary(german)


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("get", "/api/nothing", 404, "Unter dieser Adresse gibt es nichts."),
        ("get", "/api/user_info", 401, "Der API-Schlüssel ist falsch oder fehlt."),
        ("post", "/api/alias/random/new", 413, "Die Anfrage ist zu groß."),
    ],
)
def test_every_edge_of_the_api_speaks_german(
    db: None, client: Client, method: str, path: str, status: int, sentence: str
) -> None:
    body = {"data": "x" * (settings.API_MAX_BODY_BYTES + 1)} if status == 413 else {}
    headers = {"Accept-Language": "de"}

    answer = getattr(client, method)(path, content_type="application/json", headers=headers, **body)

    assert answer.status_code == status
    assert answer.json()["error"].startswith(sentence)
    assert "accept-language" in vary(answer)
    assert answer["Content-Language"] == "de"


def test_a_request_that_is_too_large_does_not_speak_the_last_readers_language(client: Client) -> None:
    body = "x" * (settings.API_MAX_BODY_BYTES + 1)

    with translation.override("de"):
        answer = client.post("/api/alias/random/new", body, content_type="application/json")

    assert answer.status_code == 413
    assert answer.json()["error"].startswith("The request is too large.")
