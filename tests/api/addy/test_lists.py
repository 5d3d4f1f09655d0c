"""addy.io's lists: pages, filters, order, and what they cost."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from aliases.issuing import issue, issue_chosen
from aliases.models import Alias
from api.addy.ids import public_id
from api.addy.lists import KEPT_SIZES, PAGE_SIZE_MAX, SORTS, _unfiltered_page
from domains.models import Domain
from tests.api.addy.calls import ALIASES, NOBODY, recipient_id
from tests.conftest import Api
from tokens.models import Token

pytestmark = pytest.mark.django_db


def test_pages_have_numbers_links_and_pinned_ones_first(alice: User, api: Api) -> None:
    now = timezone.now()
    for number in range(45):
        alias = issue(owner=alice)
        Alias.objects.filter(pk=alias.pk).update(
            active_at=now - timedelta(hours=number), pinned=number in {30, 40}
        )
    client = api(alice)

    pages = [client.get(f"{ALIASES}?page[number]={page}&page[size]=20").json() for page in (1, 2, 3, 4)]

    listed = [row["email"] for page in pages for row in page["data"]]
    assert listed == list(Alias.objects.recent_first().values_list("address", flat=True))
    assert [row["pinned"] for row in pages[0]["data"][:3]] == [True, True, False]
    url = "http://testserver/api/v1/aliases?page%5Bsize%5D=20&page%5Bnumber%5D={}"
    assert pages[1]["links"] == {
        "first": url.format(1),
        "last": url.format(3),
        "prev": url.format(1),
        "next": url.format(3),
    }
    assert pages[1]["meta"] == {
        "current_page": 2,
        "from": 21,
        "last_page": 3,
        "links": [
            {"url": url.format(1), "label": "&laquo; Previous", "active": False},
            {"url": url.format(1), "label": "1", "active": False},
            {"url": url.format(2), "label": "2", "active": True},
            {"url": url.format(3), "label": "3", "active": False},
            {"url": url.format(3), "label": "Next &raquo;", "active": False},
        ],
        "path": "http://testserver/api/v1/aliases",
        "per_page": 20,
        "to": 40,
        "total": 45,
    }
    assert (pages[2]["links"]["next"], pages[0]["links"]["prev"]) == (None, None)
    assert (pages[3]["data"], pages[3]["meta"]["from"], pages[3]["meta"]["to"]) == ([], None, None)
    assert client.get(pages[0]["links"]["next"]).json() == pages[1]


def test_links_name_the_pages_nearby_and_the_ends(alice: User, api: Api) -> None:
    for _ in range(20):
        issue(owner=alice)

    meta = api(alice).get(f"{ALIASES}?page[number]=10&page[size]=1").json()["meta"]

    labels = ["&laquo; Previous", *"1 2 ... 7 8 9 10 11 12 13 ... 19 20".split(), "Next &raquo;"]  # noqa: SIM905
    assert [link["label"] for link in meta["links"]] == labels


def test_a_list_counts_so_far_beyond_the_page_and_no_further(
    alice: User, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.addy.lists.COUNTED_MAX", 3)
    for _ in range(8):
        issue(owner=alice)

    client = api(alice)
    pages = [client.get(f"{ALIASES}?page[number]={number}&page[size]=2").json() for number in (1, 2, 3, 4)]

    assert [page["meta"]["total"] for page in pages] == [5, 7, 8, 8]
    assert [bool(page["links"]["next"]) for page in pages] == [True, True, True, False]


def test_an_empty_list_has_one_page(alice: User, api: Api) -> None:
    answer = api(alice).get(ALIASES).json()

    assert (answer["data"], answer["meta"]["total"], answer["meta"]["last_page"]) == ([], 0, 1)
    assert answer["meta"]["per_page"] == 100


def test_filters_leave_what_they_say(
    alice: User, root: User, other_org: Domain, api: Api, home: EmailAddress
) -> None:
    other_org.grant(alice)
    plain = issue(owner=alice, note="Größe 100%")
    pinned = issue(owner=alice, domain="other.org", destinations=[home.email])
    pinned.edit(pinned=True)
    off, gone = (issue(owner=alice) for _ in range(2))
    off.disable()
    gone.soft_delete()
    issue(owner=root, domain="example.com")
    forgotten = issue(owner=alice)
    Alias.objects.filter(pk=forgotten.pk).strip()
    client = api(alice)

    def found(query: str) -> set[str]:
        answer = client.get(f"{ALIASES}?{query}").json()
        assert answer["meta"]["total"] == len(answer["data"])
        return {row["email"] for row in answer["data"]}

    everything = {plain.address, pinned.address, off.address, gone.address}
    assert found("") == found("filter[search]=&filter[deleted]=without&sort=") == everything - {gone.address}
    assert found("filter[deleted]=with") == found("deleted=with") == everything
    assert found("filter[deleted]=only") == found("deleted=only") == {gone.address}
    assert found("filter[active]=true") == {plain.address, pinned.address}
    assert found("filter[active]=false") == {off.address}
    assert found("filter[active]=false&filter[deleted]=with") == {off.address, gone.address}
    assert found("filter[pinned]=true") == {pinned.address}
    assert found("filter[pinned]=false&filter%5Bsearch%5D=Gr%C3%B6%C3%9Fe") == {plain.address}
    assert found("filter[search]=%00%00%00%00") == everything - {gone.address}
    assert found(f"recipient={recipient_id(home)}") == {pinned.address}
    assert found(f"domain={public_id('domain', other_org.pk)}") == {pinned.address}
    assert found(f"recipient={NOBODY}") == found(f"domain={NOBODY}") == found("domain=x%00") == set()
    assert found(f"username={NOBODY}") == set()


@pytest.mark.parametrize("sort", SORTS)
def test_a_list_is_sorted_within_what_is_pinned(alice: User, api: Api, sort: str) -> None:
    now = timezone.now()
    names = ["charlie", "alpha", "bravo", "delta"]
    for number, name in enumerate(names):
        alias = issue_chosen(owner=alice, prefix=name)
        Alias.objects.filter(pk=alias.pk).update(
            pinned=name == "delta",
            enabled=name != "alpha",
            forwards=number,
            blocks=number,
            replies=number,
            active_at=now + timedelta(minutes=number),
            created=now + timedelta(seconds=number),
        )

    rows = api(alice).get(f"{ALIASES}?sort={sort}").json()["data"]

    listed = [row["local_part"] for row in rows]
    by_number, by_name = names[:3], sorted(names[:3])
    expected = {
        "local_part": by_name,
        "email": by_name,
        "active": ["alpha", "bravo", "charlie"],
        **dict.fromkeys(("emails_forwarded", "emails_blocked", "emails_replied"), by_number),
        **dict.fromkeys(("last_forwarded", "last_blocked", "last_used", "updated_at"), by_number),
        "created_at": by_number,
    }
    name = sort.removeprefix("-")
    # What is the same for all goes by what was made last.
    order = expected.get(name, by_number[::-1])
    if name == "active" and sort != name:
        order = ["bravo", "charlie", "alpha"]
    elif name in expected and sort != name:
        order = order[::-1]
    assert listed == ["delta", *order]


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("filter.search", "filter[search]=ab"),
        ("filter.search", f"filter[search]={'x' * 51}"),
        ("filter.deleted", "filter[deleted]=yes"),
        ("deleted", "deleted=1"),
        ("filter.active", "filter[active]=1"),
        ("filter.pinned", "filter[pinned]=no"),
        ("sort", "sort=password"),
        ("sort", "sort=--email"),
        ("sort", "sort=email%00"),
        *(("page.number", f"page[number]={text}") for text in ("0", "-1", "x", "%C2%B2", "9" * 30)),
        *(("page.size", f"page[size]={text}") for text in ("0", "101", "x", "1.5")),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused_by_its_field(
    alice: User, api: Api, field: str, query: str
) -> None:
    answer = api(alice).get(f"{ALIASES}?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"] == {field: [answer.json()["message"]]}


# One alias


@pytest.mark.parametrize(
    "query",
    [
        "sort=-created_at&filter[search]=example",
        "filter[deleted]=with&page[number]=1&page[size]=100",
        "filter[active]=true&filter[pinned]=false&page[number]=2&page[size]=1",
    ],
)
def test_no_list_takes_more_statements_for_many_aliases(alice: User, api: Api, query: str) -> None:
    client = api(alice)
    client.get("/api/v1/app-version")  # writes the token's last use

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{ALIASES}?{query}").status_code == 200
        return len(queries)

    for _ in range(2):
        issue(owner=alice)
    few = cost()
    for _ in range(30):
        issue(owner=alice)

    assert cost() == few == 2


def test_a_client_that_asks_for_pages_of_every_size_does_not_fill_the_memory(alice: User, api: Api) -> None:
    made = {issue(owner=alice).address for _ in range(3)}
    client = api(alice)

    for size in range(1, PAGE_SIZE_MAX + 1):
        rows = client.get(f"{ALIASES}?page[size]={size}").json()["data"]
        assert {row["email"] for row in rows} <= made
        assert len(rows) == min(size, 3)

    for activity in (False, True):
        for size in KEPT_SIZES:
            _unfiltered_page(size, activity=activity)
    assert _unfiltered_page.cache_info().currsize == 2 * len(KEPT_SIZES)


@pytest.mark.sqlite  # what PostgreSQL's planner chooses depends on its figures
def test_a_page_is_found_in_the_index_alone(alice: User, api: Api) -> None:
    issue(owner=alice)
    client = api(alice)

    with CaptureQueriesContext(connection) as queries:
        client.get(f"{ALIASES}?page[number]=1&page[size]=20")
        client.get(f"{ALIASES}?page[number]=500&page[size]=20")
    page, _far_page, counted = [query["sql"] for query in queries if "COUNT(" in query["sql"]]

    # Once for the page, once for the count.
    assert sum("USING COVERING INDEX alias_" in step for step in plan(page)) == 2
    assert is_in_index_alone(page)
    assert is_in_index_alone(counted, "alias_")


@pytest.mark.sqlite
@pytest.mark.parametrize("path", [f"{ALIASES}?page[size]=20", "/api/v2/aliases?page_id=3"])
def test_a_page_in_the_order_of_creation_is_found_in_an_index_too(alice: User, path: str) -> None:
    issue(owner=alice)
    _token, secret = Token.objects.issue(owner=alice, name="reads no activity")

    with CaptureQueriesContext(connection) as queries:
        APIClient(HTTP_AUTHENTICATION=secret).get(path)
    (paged,) = [query["sql"] for query in queries if "LIMIT 20" in query["sql"]]

    assert is_in_index_alone(paged, "alias_newest")


def is_in_index_alone(statement: str, index: str = "alias_list_order") -> bool:
    """Whether the database answers it, or the page in it, from the list's index and no row."""
    return any(f"USING COVERING INDEX {index}" in step for step in plan(statement))


def plan(statement: str) -> list[str]:
    """The steps in which SQLite runs it."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        return [step for *_ids, step in cursor.fetchall()]
