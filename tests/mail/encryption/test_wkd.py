"""Web Key Directories: where they are asked, and what is taken from them."""

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from core.outgoing import Answer, NotAllowed, Unreachable
from mail.encryption import keys, wkd
from mail.encryption.certificates import KEY_MAX, UnusableKey
from mail.models import DestinationKey
from tests.rig.openpgp import ALICE, GnuPG

NO_KEY = "No key for this address"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer | Exception]:
    """What is answered at each host; `hosts` that are asked and missing have no address."""
    answers: dict[str, Answer | Exception] = {}

    def request(url: str, *, octets_max: int, seconds: float) -> Answer:
        assert octets_max == KEY_MAX
        assert seconds <= wkd.SECONDS
        host = url.split("/")[2]
        answer = answers.setdefault(host, Unreachable("dns"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(wkd, "request", request)
    return answers


def test_the_address_is_written_as_the_draft_has_it() -> None:
    """The example of draft-koch-openpgp-webkey-service §3.1."""
    assert wkd.urls("Joe.Doe@Example.ORG") == (
        "https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/"
        "iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe",
        "https://example.org/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe",
    )


def test_odd_local_parts_cannot_leave_their_place() -> None:
    for local_part in ("a/../../x", "a?b=c&d", "a#b", "a b", "a\r\nb", "ü%00"):
        for url in wkd.urls(f"{local_part}@example.org"):
            path, _mark, query = url.partition("?l=")
            assert path.rpartition("/hu/")[2].isalnum()
            assert not set(query) & set("/?#& \r\n")


def test_the_host_for_keys_is_asked_first(asked: dict[str, Answer | Exception]) -> None:
    asked["openpgpkey.example.com"] = Answer(200, b"key", is_cut=False)

    assert wkd.find(ALICE) == b"key"
    assert list(asked) == ["openpgpkey.example.com"]


def test_the_domain_itself_is_asked_if_there_is_no_such_host(asked: dict[str, Answer | Exception]) -> None:
    asked["example.com"] = Answer(200, b"key", is_cut=False)

    assert wkd.find(ALICE) == b"key"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b"", is_cut=False),
        Answer(302, b"", is_cut=False),
        Answer(200, b"", is_cut=False),
        Answer(200, b"x" * KEY_MAX, is_cut=True),
        NotAllowed("address"),
        Unreachable("certificate"),
        Unreachable("timeout"),
    ],
)
def test_any_other_answer_is_no_key(asked: dict[str, Answer | Exception], answer: Answer | Exception) -> None:
    asked["openpgpkey.example.com"] = answer
    asked["example.com"] = Answer(200, b"key", is_cut=False)

    with pytest.raises(wkd.NoKeyFound, match=NO_KEY):
        wkd.find(ALICE)


def test_a_domain_that_cannot_be_is_not_asked(asked: dict[str, Answer | Exception]) -> None:
    with pytest.raises(wkd.NoKeyFound, match=NO_KEY):
        wkd.find("alice@localhost")

    assert not asked


@pytest.mark.django_db
def test_a_key_that_was_found_is_used(alice: User, asked: dict[str, Answer | Exception], gpg: GnuPG) -> None:
    asked["openpgpkey.example.com"] = Answer(200, gpg.alice, is_cut=False)
    address = EmailAddress.objects.get(user=alice)

    keys.look_key_up(address)

    assert DestinationKey.objects.get(destination=address).fingerprint == gpg.fingerprint(ALICE)


@pytest.mark.django_db
def test_a_key_for_another_address_is_refused(
    alice: User, asked: dict[str, Answer | Exception], gpg: GnuPG
) -> None:
    other = gpg.make("bob@example.com")
    asked["openpgpkey.example.com"] = Answer(200, other, is_cut=False)

    with pytest.raises(UnusableKey, match="not for this address"):
        keys.look_key_up(EmailAddress.objects.get(user=alice))

    assert not DestinationKey.objects.exists()
