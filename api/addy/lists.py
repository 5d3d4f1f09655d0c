"""addy.io's lists: filters, order, numbered pages, and the links between them."""

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any, TypedDict
from urllib.parse import urlencode

from django.db import models
from django.db.models import F, Value
from django.db.models.functions import StrIndex, Substr
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema_serializer

from accounts.models import User
from aliases.exceptions import InvalidValue
from aliases.models import Alias, AliasQuerySet, NameSpace
from api.addy.ids import public_ids
from api.addy.inputs import ChoiceField, Query, TextField, WholeField, parse_id
from api.addy.objects import (
    LISTED,
    LISTED_WITH_MAIL,
    AliasObject,
    listed_object,
    recipient_object,
    with_last_mail,
)
from api.listing import in_order, page_rows, with_destinations
from api.query import PAGE_MAX
from api.schema import EXAMPLES, example_of
from core.db.compiled import CompiledQuery, CountOf
from domains.models import Domain

PAGE_SIZE_MAX = 100
SEARCH_MIN, SEARCH_MAX = 3, 50
# Rows counted beyond the present page: PostgreSQL counts 10,000 in about a millisecond.
COUNTED_MAX = 25_000
# Pages that are linked on either side of the present one.
NEIGHBOURS = 3
# Page sizes whose statements are kept. For all hundred, a worker kept 15 to 25 MB more.
KEPT_SIZES = (10, 15, 20, 25, 50, PAGE_SIZE_MAX)

# Our column by addy.io's word. What has no column of its own goes by the last mail; what does not exist
# here is the same for every alias.
COLUMN_OF_SORT: dict[str, str | None] = {
    "local_part": "local_part",
    "domain": "domain__name",
    "email": "address",
    "emails_forwarded": "forwards",
    "emails_blocked": "blocks",
    "emails_replied": "replies",
    "emails_sent": None,
    "last_forwarded": "active_at",
    "last_blocked": "active_at",
    "last_replied": None,
    "last_sent": None,
    "last_used": "active_at",
    "active": "enabled",
    "created_at": "created",
    "updated_at": "active_at",
    "deleted_at": "deleted_at",
}
CHANGED_BY_MAIL = ("active_at", "forwards", "blocks", "replies")
SORTS = (*COLUMN_OF_SORT, *(f"-{name}" for name in COLUMN_OF_SORT))


class PageQuery(Query):
    page_number = WholeField(default=1, most=PAGE_MAX, help_text="The page, from 1.")
    page_size = WholeField(default=PAGE_SIZE_MAX, most=PAGE_SIZE_MAX, help_text="Rows on a page.")


def check_search(text: str) -> None:
    """Raise InvalidValue for a text that is too short or too long to search for."""
    if text and not SEARCH_MIN <= len(text) <= SEARCH_MAX:
        values = {"min": SEARCH_MIN, "max": SEARCH_MAX}
        raise InvalidValue(gettext("A search must have %(min)s to %(max)s characters.") % values)


@extend_schema_serializer(exclude_fields=("deleted",))
class ListQuery(PageQuery):
    filter_search = TextField(
        check=check_search,
        help_text="3 to 50 characters of the address, description, site or name; empty for all.",
    )
    filter_deleted = ChoiceField("with", "without", "only", help_text="Deleted ones too, or only them.")
    deleted = ChoiceField("with", "without", "only")
    filter_active = ChoiceField("true", "false", help_text="Only those that are switched on, or off.")
    filter_pinned = ChoiceField("true", "false", help_text="Only those that are pinned, or not.")
    sort = ChoiceField(*SORTS, help_text="The order; by default by the last mail. Pinned ones come first.")
    recipient = TextField(help_text="Only those that forward to the recipient of this id.")
    domain = TextField(help_text="Only those on the domain of this id (an alias's `aliasable_id`).")
    username = TextField(help_text="Only those whose names end with the suffix of this id.")


def unfiltered(user: Any) -> AliasQuerySet:
    """What is listed without filters."""
    return Alias.objects.owned_by(user).present()


def filtered(user: User, query: dict[str, Any]) -> AliasQuerySet:
    """The user's aliases that match the filters of a ListQuery."""
    aliases = Alias.objects.owned_by(user)
    which = query["filter[deleted]"] or query["deleted"] or "without"
    if which == "without":
        aliases = unfiltered(user)
    elif which == "only":
        aliases = aliases.deleted()
    if active := query["filter[active]"]:
        running = aliases.filter(enabled=True, deleted_at=None)
        aliases = running if active == "true" else aliases.exclude(enabled=True, deleted_at=None)
    if pinned := query["filter[pinned]"]:
        aliases = aliases.filter(pinned=pinned == "true")
    aliases = aliases.search(query["filter[search]"] or "")
    if recipient := query["recipient"]:
        keys = user.emailaddress_set.values_list("pk", flat=True)
        aliases = aliases.filter(destination_links__address__in=_with_id("recipient", keys, recipient))
    if domain := query["domain"]:
        keys = Domain.objects.order_by().values_list("pk", flat=True)
        aliases = aliases.filter(domain__in=_with_id("domain", keys, domain))
    if username := query["username"]:
        spaces = NameSpace.objects.owned_by(user).with_suffix().select_related("domain")
        by_key = {space.pk: space for space in spaces}
        named = _with_id("name space", by_key, username)
        aliases = aliases.within(by_key[named[0]]) if named else aliases.none()
    return aliases


def _with_id(kind: str, keys: Iterable[int], text: str) -> list[int]:
    """Those of the keys that have this public id."""
    wanted = parse_id(text)
    return [key for key in keys if wanted in public_ids(kind, key)]


def ordered(aliases: AliasQuerySet, sort: str | None, *, activity: bool) -> AliasQuerySet:
    """Pinned ones first, then by `sort`; without it by the last mail, which has an index.

    Without `activity`, which the token may not read, no order reveals it: by creation instead.
    """
    column = COLUMN_OF_SORT[sort.removeprefix("-")] if sort else "active_at"
    if not sort or (not activity and column in CHANGED_BY_MAIL):
        return in_order(activity=activity)(aliases)
    if column is None:
        return aliases.order_by("-pinned", "-created", "-pk")
    if column == "local_part":
        at = StrIndex("address", Value("@"))
        aliases = aliases.annotate(local_part=Substr("address", Value(1), at - Value(1)))
    nulls_last = True if column == "deleted_at" else None
    order = F(column).desc(nulls_last=nulls_last) if sort[0] == "-" else F(column).asc(nulls_last=nulls_last)
    return aliases.order_by("-pinned", order, "-created", "-pk")


def page_of(
    aliases: AliasQuerySet, page: dict[str, Any], size: int, sort: str | None, *, activity: bool
) -> Any:
    """The page that starts at `page["start"]`, each row with the number of all, counted to `page["most"]`."""

    def extend(rows: AliasQuerySet) -> AliasQuerySet:
        rows = rows.annotate(total=CountOf(aliases, page["most"]))
        return with_last_mail(rows) if activity else rows

    columns = (*(LISTED_WITH_MAIL if activity else LISTED), "total")
    order = partial(ordered, sort=sort, activity=activity)
    return page_rows(aliases, page["start"], size, order, columns, extend)


@cache
def _unfiltered_page(size: int, *, activity: bool) -> CompiledQuery:
    """A page of this size of the list without filters, in its usual order."""
    return CompiledQuery(
        lambda owner, **page: page_of(unfiltered(owner), page, size, None, activity=activity),
        owner=models.BigIntegerField(),
        start=models.BigIntegerField(),
        most=models.BigIntegerField(),
    )


class PageLinks(TypedDict):
    first: str
    last: str
    prev: str | None
    next: str | None


class LabelledLink(TypedDict):
    url: str | None
    label: str
    active: bool


# "from" cannot be written as a class's field.
PageMeta = TypedDict(
    "PageMeta",
    {
        "current_page": int,
        "from": int | None,
        "last_page": int,
        "links": list[LabelledLink],
        "path": str,
        "per_page": int,
        "to": int | None,
        "total": int,
    },
)


class AliasPage(TypedDict):
    data: list[AliasObject]
    links: PageLinks
    meta: PageMeta


class Page:
    """Which rows of a list a PageQuery asks for, and how addy.io's clients find the others."""

    def __init__(self, path: str, raw: dict[str, str], query: dict[str, Any]) -> None:
        """`path`: the list's absolute address; `raw`: the query as it was sent."""
        self.path = path
        others = {name: value for name, value in raw.items() if name != "page[number]"}
        self._up_to_number = f"{path}?{urlencode({**others, 'page[number]': ''})}"
        self.number: int = query["page[number]"]
        self.size: int = query["page[size]"]

    @property
    def rows(self) -> slice:
        """The page's rows in the whole list."""
        return slice((self.number - 1) * self.size, self.number * self.size)

    def read(self, user: User, query: dict[str, Any], *, activity: bool) -> tuple[list[AliasObject], int]:
        """The page's aliases, and how many there are; of those after the page, at most COUNTED_MAX."""
        page = {"start": self.rows.start, "most": self.rows.stop + COUNTED_MAX}
        is_unfiltered = not any(value for name, value in query.items() if not name.startswith("page"))
        if is_unfiltered and self.size in KEPT_SIZES:
            rows = _unfiltered_page(self.size, activity=activity)(owner=user.pk, **page)
        else:
            rows = page_of(filtered(user, query), page, self.size, query["sort"], activity=activity)
        recipient = cache(partial(recipient_object, owner=user))
        found = list(with_destinations(rows))
        data = [
            listed_object(columns, [recipient(each) for each in destinations], user, activity=activity)
            for (*columns, _total), destinations in found
        ]
        if not found:
            # No row tells the total, which ends before this page.
            return [], filtered(user, query).order_by().values("pk")[: self.rows.start].count()
        return data, found[0][0][-1]

    def url(self, number: int) -> str:
        """The address of the same list's page of that number."""
        return f"{self._up_to_number}{number}"

    def answer(self, data: Sequence[Any], total: int) -> dict[str, Any]:
        """The page of these objects with its links, as Laravel's paginator writes them."""
        last = max(1, -(-total // self.size))
        before = self.url(self.number - 1) if self.number > 1 else None
        after = self.url(self.number + 1) if self.number < last else None
        return {
            "data": data,
            "links": {"first": self.url(1), "last": self.url(last), "prev": before, "next": after},
            "meta": {
                "current_page": self.number,
                "from": self.rows.start + 1 if data else None,
                "last_page": last,
                "links": [
                    {"url": before, "label": "&laquo; Previous", "active": False},
                    *self._numbers(last),
                    {"url": after, "label": "Next &raquo;", "active": False},
                ],
                "path": self.path,
                "per_page": self.size,
                "to": self.rows.start + len(data) if data else None,
                "total": total,
            },
        }

    def _numbers(self, last: int) -> list[LabelledLink]:
        near = range(self.number - NEIGHBOURS, self.number + NEIGHBOURS + 1)
        shown = sorted({number for number in (1, 2, *near, last - 1, last) if 1 <= number <= last})
        links: list[LabelledLink] = []
        for before, number in zip([0, *shown], shown, strict=False):
            if number > before + 1:
                links.append({"url": None, "label": "...", "active": False})
            links.append({"url": self.url(number), "label": str(number), "active": number == self.number})
        return links


def example_page(data: Sequence[Any]) -> dict[str, Any]:
    """The only page of a list."""
    path = "https://mail.example.com/api/v1/aliases"
    return Page(path, {}, PageQuery.read({})).answer(data, len(data))


EXAMPLES[AliasPage] = lambda: example_page([example_of(AliasObject)])
