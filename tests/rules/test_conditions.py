"""When the conditions of a rule are true of a message."""

import unicodedata

import pytest

from core.matching import TEXT_MAX
from rules.conditions import Match, Of, clean_condition
from rules.exceptions import InvalidRule
from rules.facts import FIELDS_MAX, MARKS_MAX, Facts, composed
from tests.rig.ruling import condition

FACTS = Facts(
    [
        ("subject", "Your =?utf-8?q?B=C3=BCcher?= order"),
        ("list-id", "Shop news <news.shop.test>"),
        ("x-twice", "one"),
        ("x-twice", "two"),
    ],
    "Eve@News.Shop.test",
    "shop.alpha@example.com",
    "For  the\nshop",
)


@pytest.mark.parametrize(
    ("of", "match", "value", "is_true"),
    [
        ("sender", "is", "eve@news.shop.test", True),
        ("sender", "is", "news.shop.test", False),
        ("sender", "is_not", "EVE@news.shop.test", False),
        ("sender", "ends", "@NEWS.shop.test", True),
        ("sender", "ends_not", "@news.shop.test", False),
        ("sender", "ends_not", "@shop.test", True),
        ("subject", "contains", "bücher", True),
        ("subject", "contains", "BÜCHER ORDER", True),
        ("subject", "contains_not", "Bücher", False),
        ("subject", "is", "your bücher order", True),
        ("subject", "starts", "your", True),
        ("subject", "starts_not", "order", True),
        ("subject", "matches", r"^your \w+", True),
        ("subject", "matches", r"b\Scher order$", True),
        ("subject", "matches", r"^order", False),
        ("subject", "matches_not", r"^order", True),
        ("alias", "starts", "shop.", True),
        ("alias", "is", "SHOP.alpha@example.com", True),
        ("note", "is", "for the shop", True),
    ],
)
def test_a_condition_is_true_or_false(of: str, match: str, value: str, is_true: bool) -> None:  # noqa: FBT001
    assert condition(of, match, value).holds(FACTS) is is_true


@pytest.mark.parametrize(
    ("header", "match", "values", "is_true"),
    [
        ("List-Id", "contains", ("news.shop.test",), True),
        ("LIST-ID", "ends", ("<news.shop.test>",), True),
        ("x-twice", "is", ("two",), True),
        ("x-twice", "is", ("three", "one"), True),
        ("x-twice", "is_not", ("two",), False),
        ("x-twice", "is_not", ("three",), True),
        ("x-missing", "is", ("x",), False),
        ("x-missing", "is_not", ("x",), True),
        ("x-missing", "matches", (".*",), False),
        ("x-missing", "matches_not", (".*",), True),
    ],
)
def test_a_condition_looks_at_all_fields_of_a_name(
    header: str,
    match: str,
    values: tuple[str, ...],
    is_true: bool,  # noqa: FBT001
) -> None:
    assert condition("header", match, *values, header=header).holds(FACTS) is is_true


def test_a_domain_is_known_in_both_of_its_forms() -> None:
    facts = Facts([], "eve@xn--bcher-kva.test", "a@example.com")

    assert condition("sender", "ends", "@bücher.test").holds(facts)
    assert condition("sender", "ends", "@xn--bcher-kva.test").holds(facts)
    assert not condition("sender", "ends_not", "@bücher.test").holds(facts)


@pytest.mark.parametrize(
    "text",
    [
        "=?utf-8?q?" * 500,
        "=?utf-8?q?x" * 500,
        "=?zlib?b?eJw=?=",
        "=?no-such?q?x?=",
        "=?utf-8?b?!!!!?=",
        "\udcff\udcfe",
        "=?utf-7?q?+AAAAAAAA-?=",
        "a" * 300_000,
        "",
    ],
)
def test_no_subject_is_too_odd_to_be_judged(text: str) -> None:
    facts = Facts([("subject", text)], "", "a@example.com")

    assert not condition("subject", "contains", "needle").holds(facts)
    assert not condition("subject", "matches", "needle").holds(facts)
    assert sum(map(len, facts.header("subject"))) <= TEXT_MAX


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("match", ["contains", "is", "starts", "matches"])
def test_letters_with_accents_are_the_same_however_they_are_written(form: str, match: str) -> None:
    """Macs write “ü” as “u” and two dots."""
    facts = Facts([("subject", unicodedata.normalize(form, "BÜCHER ÉTÉ"))], "", "a@example.com")

    for written in ("NFC", "NFD"):
        value = unicodedata.normalize(written, "Bücher Été")
        assert condition("subject", match, value).holds(facts)


def test_a_row_of_marks_that_would_take_long_to_put_in_order_is_left_as_it_is() -> None:
    marks = "\u0301\u0316" * (MARKS_MAX // 2)
    odd = f"e\u0301 e{marks}\u0301"

    assert composed(f"e{marks}") == f"é{marks[1::2]}{marks[2::2]}"
    assert composed(odd) == odd
    assert Facts([("subject", odd * 100)], "", "a@example.com").header("subject") == [(odd * 100)[:TEXT_MAX]]


def test_many_fields_of_a_name_are_looked_at_as_far_as_one() -> None:
    facts = Facts([("x", "a" * 90)] * 50_000, "", "a@example.com")

    assert sum(map(len, facts.header("x"))) == TEXT_MAX


def test_of_many_empty_fields_of_a_name_only_so_many_are_looked_at() -> None:
    facts = Facts([*[("x", "")] * 50_000, ("x", "needle")], "", "a@example.com")

    assert len(facts.header("x")) == FIELDS_MAX
    assert not condition("header", "contains", "needle", header="x").holds(facts)
    assert condition("header", "matches", "^$", header="x").holds(facts)


def test_no_subject_turns_into_what_is_no_character() -> None:
    halves = "=?utf-7?q?+2AA-?= =?unicode-escape?q?=5Cudc00?= needle"
    facts = Facts([("subject", halves)], "", "a@example.com")

    [text] = facts.header("subject")
    assert text.isprintable()
    assert text.endswith("needle")


@pytest.mark.parametrize(
    ("of", "match", "values", "header"),
    [
        ("body", "is", ["x"], ""),
        ("sender", "resembles", ["x"], ""),
        ("sender", "is", [], ""),
        ("sender", "is", [" ", ""], ""),
        ("sender", "is", ["x" * 201], ""),
        ("sender", "is", [str(number) for number in range(51)], ""),
        ("sender", "is", ["a\x00b"], ""),
        ("sender", "is", ["a\ud800"], ""),
        ("sender", "matches", ["(?=x)"], ""),
        ("sender", "matches_not", ["(" * 50], ""),
        ("header", "is", ["x"], ""),
        ("header", "is", ["x"], "a b"),
        ("header", "is", ["x"], "a:"),
        ("header", "is", ["x"], "ä"),
        ("header", "is", ["x"], "x" * 77),
        ("header", "is", ["x"], "x\r\ny"),
    ],
)
def test_what_is_no_condition_is_refused(of: str, match: str, values: list[str], header: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        clean_condition(of, match, values, header, "conditions.3")

    assert refused.value.part == "conditions.3"


def test_every_comparison_has_its_opposite() -> None:
    for match in Match:
        assert Match(match.deed) in Match
        other = Match(f"{match.deed}_not")
        for of in (Of.SENDER, Of.SUBJECT, Of.ALIAS, Of.NOTE):
            value = "shop"
            assert condition(of, match.deed, value).holds(FACTS) is not condition(of, other, value).holds(
                FACTS
            )


def test_what_is_kept_is_what_was_written() -> None:
    written = condition("header", "matches", "a+", "b", header="List-Id")

    assert type(written).kept(written.as_json()) == written
