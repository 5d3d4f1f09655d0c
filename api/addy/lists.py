"""addy.io's lists: filters, order, pages with numbers, and the links between them."""

from typing import Any
from urllib.parse import urlencode

from django.db.models import F, Value
from django.db.models.functions import StrIndex, Substr
from rest_framework.request import Request

from accounts.models import User
from aliases.models import Alias, AliasQuerySet
from api.addy.ids import public_id
from api.addy.inputs import PAGE_MAX, PAGE_SIZE_MAX, choice_of, search_of, uuid_of, whole_of
from domains.models import Domain

# Our column by addy.io's word. What has no column of its own goes by the last mail; what there is not
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
# What mail changes.
TOLD_BY_MAIL = ("active_at", "forwards", "blocks", "replies")
SORTS = (*COLUMN_OF_SORT, *(f"-{name}" for name in COLUMN_OF_SORT))
# Pages that are named on either side of the present one.
NEIGHBOURS = 3


def chosen(user: User, query: dict[str, str]) -> AliasQuerySet:
    """The user's aliases that the query's filters leave. Raises Unprocessable."""
    which = choice_of(query, "filter[deleted]", ("with", "without", "only")) or choice_of(
        query, "deleted", ("with", "without", "only"), "without"
    )
    aliases = Alias.objects.owned_by(user)
    if which == "without":
        aliases = aliases.present()
    elif which == "only":
        aliases = aliases.deleted()
    if active := choice_of(query, "filter[active]", ("true", "false")):
        running = aliases.filter(enabled=True, deleted_at=None)
        aliases = running if active == "true" else aliases.exclude(enabled=True, deleted_at=None)
    if pinned := choice_of(query, "filter[pinned]", ("true", "false")):
        aliases = aliases.filter(pinned=pinned == "true")
    aliases = aliases.search(search_of(query))
    if recipient := query.get("recipient"):
        aliases = aliases.filter(destination_links__address__in=_recipients(user, recipient))
    if domain := query.get("domain"):
        aliases = aliases.filter(domain__in=_domains(domain))
    # There are no usernames here that an alias could belong to.
    return aliases.none() if query.get("username") else aliases


def _recipients(user: User, text: str) -> list[int]:
    keys = user.emailaddress_set.values_list("pk", flat=True)
    return [key for key in keys if public_id("recipient", key) == uuid_of(text)]


def _domains(text: str) -> list[int]:
    keys = Domain.objects.order_by().values_list("pk", flat=True)
    return [key for key in keys if public_id("domain", key) == uuid_of(text)]


def ordered(aliases: AliasQuerySet, query: dict[str, str], *, activity: bool) -> AliasQuerySet:
    """Pinned ones first, then as asked; by the last mail (an index) if not. Raises Unprocessable.

    Without `activity`, which the token may not read, no order tells it: by creation instead.
    """
    sort = choice_of(query, "sort", SORTS)
    column = COLUMN_OF_SORT[sort.removeprefix("-")] if sort else "active_at"
    if not activity and column in TOLD_BY_MAIL:
        return aliases.newest_first()
    if not sort:
        return aliases.recent_first()
    if column is None:
        return aliases.order_by("-pinned", "-created", "-pk")
    if column == "local_part":
        at = StrIndex("address", Value("@"))
        aliases = aliases.annotate(local_part=Substr("address", Value(1), at - Value(1)))
    nulls_last = True if column == "deleted_at" else None
    order = F(column).desc(nulls_last=nulls_last) if sort[0] == "-" else F(column).asc(nulls_last=nulls_last)
    return aliases.order_by("-pinned", order, "-created", "-pk")


class Page:
    """Which rows of a list were asked for, and how addy.io's clients find the others."""

    def __init__(self, request: Request, query: dict[str, str]) -> None:
        """Raises Unprocessable."""
        self.number = whole_of(query, "page[number]", 1, PAGE_MAX)
        self.size = whole_of(query, "page[size]", PAGE_SIZE_MAX, PAGE_SIZE_MAX)
        self.path = request.build_absolute_uri(request.path)
        self.query = query

    @property
    def rows(self) -> slice:
        """The page's rows in the whole list."""
        return slice((self.number - 1) * self.size, self.number * self.size)

    def url(self, number: int) -> str:
        """The same list's page of that number."""
        return f"{self.path}?{urlencode({**self.query, 'page[number]': number})}"

    def answer(self, data: list[dict[str, Any]], total: int) -> dict[str, Any]:
        """The page with its links, as Laravel's paginator writes them."""
        last = max(1, -(-total // self.size))
        before = self.url(self.number - 1) if self.number > 1 else None
        after = self.url(self.number + 1) if self.number < last else None
        first_row = self.rows.start + 1 if data else None
        return {
            "data": data,
            "links": {"first": self.url(1), "last": self.url(last), "prev": before, "next": after},
            "meta": {
                "current_page": self.number,
                "from": first_row,
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

    def _numbers(self, last: int) -> list[dict[str, Any]]:
        near = range(self.number - NEIGHBOURS, self.number + NEIGHBOURS + 1)
        shown = sorted({number for number in (1, 2, *near, last - 1, last) if 1 <= number <= last})
        links: list[dict[str, Any]] = []
        for before, number in zip([0, *shown], shown, strict=False):
            if number > before + 1:
                links.append({"url": None, "label": "...", "active": False})
            links.append({"url": self.url(number), "label": str(number), "active": number == self.number})
        return links
