"""Mailu's `config-export`, in YAML or JSON, as rows. Pure: nothing here uses the database."""

import io
import json
import re
from typing import Any

import yaml
from django.utils.translation import gettext

from aliases.local_parts import is_reserved
from core.addresses import address_or_none, domain_or_none
from transfer.rows import (
    Document,
    DomainRow,
    ImportFileError,
    LeftOut,
    Row,
    UserRow,
    check_count,
    printable,
    yes_or_no,
)

# Mailu's documents are five deep and some dozen values for each user and alias.
YAML_DEPTH_MAX = 20
VALUES_MAX = 1_000_000
# A text in JSON, up to the end of the document if it is not closed. No character is looked at twice.
_JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)


class _Item(dict[str, Any]):
    """A mapping of a document, with its line (0: unknown)."""

    # One file may have millions of them: no dictionary of attributes for each.
    __slots__ = ("line",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.line = 0


def is_mailu(text: str) -> bool:
    """Whether it begins as JSON, or with a YAML section after comments and a document mark."""
    for line in io.StringIO(text):
        begins = line.strip()
        if begins and begins != "---" and not begins.startswith("#"):
            return bool(re.match(r"\{|(config|domain|user|relay|alias)\s*:(\s|$)", begins))
    return False


def read(text: str) -> Document:
    """Mailu's export. What is not one person's alias is left out, with the reason. Raises ImportFileError."""
    is_json = text.lstrip().startswith("{")
    document = _parse_json(text) if is_json else _parse_yaml(text)
    if not isinstance(document, _Item) or not document.keys() & {"domain", "user", "alias"}:
        raise ImportFileError(gettext("This is not a file of Mailu's config-export."))
    aliases = _section(document, "alias")
    domains = [
        DomainRow(
            item.line,
            printable(_text(item, "name")),
            _is_true(item, "anonmail_enabled"),
            "\n".join(map(printable, _text(item, "comment").splitlines())),
        )
        for item in _section(document, "domain")
    ]
    users = [
        UserRow(
            item.line,
            printable(_text(item, "email")),
            printable(_text(item, "displayed_name"))[:128],
            _is_true(item, "enabled", missing=True),
        )
        for item in _section(document, "user")
    ]
    server = _Server(document, users)
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    for item in aliases:
        row, reason = _mailu_row(item, server)
        if reason:
            left_out.append(LeftOut(row.line, printable(row.address[:80]), reason))
        else:
            rows.append(row)
    return Document(rows, left_out, domains, users, is_json)


class _Server:
    """Knows whose mailbox an address of that server is."""

    def __init__(self, document: _Item, users: list[UserRow]) -> None:
        self.people = {_one_form(user.email) for user in users}
        self.domains: set[str] = set()
        # Other names of a domain, under which its people receive too.
        self.main_name: dict[str, str] = {}
        for item in _section(document, "domain"):
            name = _domain_form(_text(item, "name"))
            self.domains.add(name)
            alternatives = item.get("alternatives")
            for other in alternatives if isinstance(alternatives, list) else ():
                text = _text(other, "name") if isinstance(other, _Item) else other
                if isinstance(text, str) and text:
                    self.main_name[_domain_form(text)] = name

    def mailbox(self, address: str) -> str:
        """The address of the person who receives mail to `address` there; unchanged if nobody does."""
        form = _one_form(address)
        if form in self.people or "@" not in form:
            return address
        local_part, _at, domain = form.rpartition("@")
        main = self.main_name.get(domain, domain)
        untagged = local_part.partition("+")[0] or local_part
        known = [f"{local_part}@{main}", f"{untagged}@{main}"]
        if person := next((one for one in known if one in self.people), ""):
            return person
        # In a file without users, only the domains say that it is an address of that server.
        return known[1] if not self.people and main in self.domains else address

    def has(self, address: str) -> bool:
        """Whether it is a user's address, as far as the file lists its users."""
        return not self.people or _one_form(address) in self.people


def _mailu_row(item: _Item, server: _Server) -> tuple[Row, str]:
    """The alias, and why it is left out, if it is."""
    destination = item.get("destination") or []
    if isinstance(destination, str):
        destination = [part.strip() for part in destination.split(",") if part.strip()]
    reason = problem = ""
    if not isinstance(destination, list) or not all(isinstance(part, str) for part in destination):
        destination, problem = [], gettext("The destinations are not a list of addresses.")
    destination = list(dict.fromkeys(map(server.mailbox, destination)))
    owner, address = server.mailbox(_text(item, "owner_email")), _text(item, "email")
    row = Row(
        item.line,
        address,
        enabled=not _is_true(item, "disabled") and _is_true(item, "enabled", missing=True),
        # What the person wrote; a standard alias only has the admin's comment.
        note=_text(item, "note") or _text(item, "comment"),
        hostname=_text(item, "hostname"),
        destinations=tuple(destination),
        owner=owner or (destination[0] if len(destination) == 1 else ""),
        problem=problem,
    )
    if _is_true(item, "wildcard"):
        reason = gettext("A pattern is not an address.")
    elif _one_form(address) in server.people:
        reason = gettext("It is a mailbox on that server, not an alias.")
    elif _one_form(address) in map(_one_form, destination):
        reason = gettext("It forwards to itself.")
    elif not owner and not problem:
        if len(destination) != 1:
            reason = gettext("It belongs to nobody: it has no owner and not exactly one destination.")
        elif is_reserved(row.address.lower().partition("@")[0]):
            reason = gettext("This name is reserved: it stays with the mail server.")
        elif not server.has(destination[0]):
            reason = gettext("Its destination is not a user of that server.")
    return row, reason


def _one_form(address: str) -> str:
    return address_or_none(address) or address


def _domain_form(name: str) -> str:
    return domain_or_none(name) or name.strip().lower()


def _section(document: _Item, name: str) -> list[_Item]:
    items = document.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, _Item) for item in items):
        raise ImportFileError(gettext("“%(section)s” is not a list of entries.") % {"section": name})
    check_count(len(items))
    return items


def _text(item: _Item, key: str) -> str:
    value = item.get(key)
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _is_true(item: _Item, key: str, *, missing: bool = False) -> bool:
    value = item.get(key)
    if value is None:
        return missing
    return value if isinstance(value, bool) else yes_or_no(str(value)) is True


def _parse_json(text: str) -> Any:
    # Counted before anything is built: what begins or separates values, outside texts.
    marks = _JSON_TEXT.sub("", text)
    if sum(marks.count(mark) for mark in "{[,") > VALUES_MAX:
        raise ImportFileError(gettext("The document has too many values."))
    del marks
    try:
        document = json.loads(text, object_pairs_hook=_Item)
    except RecursionError as error:
        raise ImportFileError(gettext("The document is nested too deeply.")) from error
    except ValueError as error:
        raise ImportFileError(gettext("The file is not valid JSON.")) from error
    for items in document.values():
        for number, item in enumerate(items if isinstance(items, list) else (), 1):
            if isinstance(item, _Item):
                item.line = number
    return document


# PyYAML's safe loaders build only plain values; the one over libyaml is twenty times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# How Mailu writes true and false.
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def _parse_yaml(text: str) -> Any:
    """The only document in the text: mappings as _Item, lists, texts, booleans and None; numbers stay texts.

    Built from the parser's events, so that depth and size are bounded before anything is built, and
    nothing can refer to anything else (no “billion laughs”). Raises ImportFileError.
    """
    if re.search(r"^%", text, re.MULTILINE):
        # libyaml compares each %TAG with all before it; Mailu writes no directives.
        raise ImportFileError(gettext("The file is not YAML as Mailu writes it."))
    root: list[Any] = []
    # Innermost last: a list, or a mapping and the key that waits for its value.
    stack: list[tuple[Any, list[Any]]] = [(root, [])]
    values = 0

    def put(value: Any) -> None:
        container, waiting = stack[-1]
        if isinstance(container, list):
            container.append(value)
        elif not waiting:
            waiting.append(value)
        else:
            key = waiting.pop()
            if not isinstance(key, str):
                raise ImportFileError(gettext("The file is not YAML as Mailu writes it."))
            container[key] = value

    try:
        for event in yaml.parse(text, Loader=_Loader):
            values += 1
            if values > VALUES_MAX:
                raise ImportFileError(gettext("The document has too many values."))
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                line = _line(event)
                raise ImportFileError(
                    gettext("Line %(line)s refers to another part of the document, which is not supported.")
                    % {"line": line}
                )
            if isinstance(event, yaml.ScalarEvent):
                put(_scalar(event))
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                made: Any = [] if isinstance(event, yaml.SequenceStartEvent) else _Item()
                if isinstance(made, _Item):
                    made.line = _line(event)
                put(made)
                stack.append((made, []))
                if len(stack) > YAML_DEPTH_MAX:
                    raise ImportFileError(gettext("The document is nested too deeply."))
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                stack.pop()
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = gettext(" (line %(line)s)") % {"line": mark.line + 1} if mark else ""
        raise ImportFileError(gettext("The file is not valid YAML.") + where) from error
    if len(root) != 1:
        raise ImportFileError(gettext("This is not a file of Mailu's config-export."))
    return root[0]


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar(event: Any) -> Any:
    if event.style is None and event.tag is None:
        if event.value in _NULLS:
            return None
        return _BOOLEANS.get(event.value, event.value)
    return event.value
