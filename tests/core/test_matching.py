"""Patterns that people write: what they find, what is refused, and what hostile ones cost."""

import fnmatch
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.matching import (
    PATTERN_MAX,
    PROGRAM_MAX,
    TEXT_MAX,
    InvalidPattern,
    Pattern,
    pattern,
    pattern_of_glob,
)


def test_a_pattern_is_searched_for_in_any_case() -> None:
    assert Pattern(r"^\[spam\]").is_in("[SPAM] Win")
    assert Pattern("ärger").is_in("Viel ÄRGER")
    assert not Pattern(r"^\[spam\]").is_in("Re: [spam] Win")


def test_a_pattern_can_be_asked_for_the_whole_text() -> None:
    assert Pattern("shop.*").is_all_of("shop.alpha")
    assert not Pattern("shop").is_all_of("shop.alpha")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(a",
        "a)",
        "[a",
        "*a",
        r"\1",
        r"(a)\1",
        "(?=a)",
        "(?<!a)b",
        "(?>a)",
        "a{1001}",
        "((a{100}){100}){100}",
        "\ud800",
        "a\0b",
        r"\p{Xyz}",
    ],
)
def test_what_is_no_pattern_here_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidPattern) as refused:
        Pattern(text)

    assert str(refused.value).endswith(".")
    assert "b'" not in str(refused.value)


def test_a_pattern_that_is_too_long_is_refused() -> None:
    Pattern("a" * PATTERN_MAX)

    with pytest.raises(InvalidPattern, match="200"):
        Pattern("a" * (PATTERN_MAX + 1))


@pytest.mark.parametrize("text", [r"(\pL{20})", "(?:.{0,100}a){10}", "(.{1,50}){1,20}", r"\p{Greek}{50}"])
def test_a_pattern_whose_program_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(InvalidPattern, match="too large"):
        Pattern(text)


@pytest.mark.parametrize("text", [r"\pL+", "[^a]{200}", r"[\w.]{1,64}@example\.com"])
def test_what_people_write_fits(text: str) -> None:
    assert Pattern(text)._compiled.programsize <= PROGRAM_MAX


@pytest.mark.parametrize(
    ("bomb", "text"),
    [
        (r"(x+x+)+y", "x" * 40),
        (r"^(a|a)*$", "a" * 40 + "b"),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 60 + "1"),
        (r"(.*,){11}P", "1," * 40),
        (r"(a?){64}a{64}b", "a" * 64),
    ],
)
def test_bombs_are_only_patterns_that_do_not_match(bomb: str, text: str) -> None:
    """Python's own `re` would take minutes to centuries for each of these."""
    assert not Pattern(bomb).is_in(text)


def test_a_long_text_is_looked_at_as_far_as_it_may_be() -> None:
    assert Pattern("a").is_in("b" * (TEXT_MAX - 1) + "a")
    assert not Pattern("a").is_in("b" * TEXT_MAX + "a")
    assert not Pattern("b*").is_all_of("b" * (TEXT_MAX + 1))


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "a\U0001f600b", r"a\Cb"])
def test_odd_characters_are_texts_like_others(text: str) -> None:
    assert Pattern("a.+b").is_in(text)


def test_a_byte_wise_pattern_does_no_harm() -> None:
    assert Pattern(r"\C").is_in("ä")
    assert not Pattern(r"^\C$").is_in("ä")


def test_a_pattern_is_made_ready_once() -> None:
    assert pattern("once") is pattern("once")


def test_the_engine_is_loaded_with_the_first_pattern_and_not_before() -> None:
    code = (
        "import sys; import core.matching as m; assert '_re2' not in str(sorted(sys.modules));"
        "m.Pattern('a'); assert 're2._re2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.text("ab.*?+(\n ä", max_size=12), st.text("ab.*?+(\n ä", max_size=12))
def test_a_glob_finds_what_fnmatch_finds(glob: str, text: str) -> None:
    assert Pattern(pattern_of_glob(glob)).is_in(text) is fnmatch.fnmatchcase(text, glob)


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30).filter(
        lambda text: not {*"*?"} & {*text}
    )
)
def test_a_glob_without_stars_is_itself(text: str) -> None:
    assert Pattern(pattern_of_glob(text)).is_in(text)
