"""Message-IDs of replies: nothing of the mailbox's shows, and threads hold on both sides."""

from hypothesis import given
from hypothesis import strategies as st

from mail.delivery.threads import for_correspondent, for_owner, ids_in, original_id, outgoing_id

ALIAS, OTHER = "shop.word@example.com", "other.word@example.com"
OWN = "<4711@laptop.secret-home.test>"
THEIRS = "<abc@sender.test>"


def ours(message_id: str = OWN, alias: str = ALIAS) -> str:
    return outgoing_id(alias, message_id)


def test_a_message_id_becomes_ours_and_comes_back() -> None:
    made = ours()

    assert made.startswith("<m.")
    assert made.endswith("@example.com>")
    assert "laptop" not in made
    assert original_id(ALIAS, made) == OWN
    assert ours() == made  # a retry


def test_message_ids_of_common_lengths_become_equally_long() -> None:
    assert len({len(ours(f"<{'x' * length}@a.test>")) for length in range(1, 86)}) == 1


def test_one_message_looks_different_from_two_aliases() -> None:
    assert ours(alias=ALIAS) != ours(alias=OTHER)
    assert original_id(OTHER, ours(alias=ALIAS)) is None


def test_a_forged_or_broken_id_stands_for_nothing() -> None:
    made = ours()

    for text in (THEIRS, made.replace("<m.", "<m.A"), "<m.!@example.com>", "<m.AAAA@example.com>", ""):
        assert original_id(ALIAS, text) is None


def test_the_owner_sees_their_own_ids_in_an_answer() -> None:
    assert for_owner(ALIAS, "in-reply-to", f"  {ours()}") == OWN
    assert ids_in(for_owner(ALIAS, "references", f"{THEIRS} {ours()}")) == [THEIRS, ours(), OWN]


def test_the_correspondent_sees_ours_in_the_next_reply() -> None:
    answered = ids_in(for_owner(ALIAS, "references", f"{THEIRS} {ours()}"))
    shown = for_correspondent(ALIAS, [*answered, "<next@sender.test>"], lambda each: False)

    assert list(dict.fromkeys(shown.values())) == [ours(), THEIRS, "<next@sender.test>"]
    assert OWN not in shown.values()


def test_a_reply_to_ones_own_mail_refers_to_ours() -> None:
    shown = for_correspondent(ALIAS, [THEIRS, OWN], lambda each: each == OWN)

    assert shown == {THEIRS: THEIRS, OWN: ours()}


def test_a_long_thread_keeps_its_ends() -> None:
    found = ids_in(" ".join(f"<{number}@a.test>" for number in range(100)))

    assert len(found) == 30
    assert (found[0], found[-1]) == ("<0@a.test>", "<99@a.test>")
    assert ids_in(f"<{'x' * 500}@a.test> {THEIRS}") == [THEIRS]


@given(
    st.text(
        st.characters(exclude_characters="<>", exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=90
    )
)
def test_any_message_id_comes_back(text: str) -> None:
    assert original_id(ALIAS, ours(f"<{text}>")) == f"<{text}>"
