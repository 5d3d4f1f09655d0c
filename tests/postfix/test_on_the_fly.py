"""Aliases that mail makes, through a real Postfix in both designs."""

import pytest
from allauth.account.models import EmailAddress

from accounts.models import User
from aliases.models import Alias, NameSpace
from aliases.spaces import change, give, switch
from domains.models import Domain
from mail.delivery.resolve import our_domains
from tests.postfix.conftest import Site
from tests.postfix.sender import stranger, unknown

HOME = "alice@home.test"


def at_most(space: NameSpace, number: int) -> None:
    """So many a day; all go to alice's mailbox elsewhere."""
    change(space, names="", is_expression=False, key_word="", per_day=number, rules=[("*", HOME)])


@pytest.fixture
def space(alice: User, example_com: Domain) -> NameSpace:
    EmailAddress.objects.create(user=alice, email=HOME, verified=True)
    space = give(domain=example_com, owner=alice, suffix="alice")
    switch(space, True)
    at_most(space, 10)
    our_domains.forget()
    return space


def test_the_first_mail_makes_the_alias_and_arrives(site: Site, space: NameSpace) -> None:
    with stranger(site) as sender:
        told = sender.send("shop.alice@example.com", "Bank.Alice+tag@example.com", "shop.bob@example.com")
        assert told.codes == ["250", "250", "550"]
        assert told.recipients["shop.bob@example.com"].startswith(unknown("shop.bob@example.com"))
    site.postfix.wait_until_idle()

    assert set(Alias.objects.values_list("address", "made_by_mail", "forwards")) == {
        ("shop.alice@example.com", True, 1),
        ("bank.alice@example.com", True, 1),
    }
    assert [arrived.recipient for arrived in site.sink.arrived] == [HOME] * 2
    # Now known: it is forwarded as any other.
    with stranger(site) as sender:
        assert sender.send("shop.alice@example.com").codes == ["250"]
    site.postfix.wait_until_idle()
    assert Alias.objects.get(address="shop.alice@example.com").forwards == 2


def test_what_is_refused_makes_no_report(site: Site, space: NameSpace) -> None:
    at_most(space, 1)
    with stranger(site) as sender:
        # A bounce: taken, and dropped.
        assert sender.send("shop.alice@example.com", sender="").codes == ["250"]
        site.postfix.wait_until_idle()
        assert not Alias.objects.exists()
        sender.send("one.alice@example.com")
        site.postfix.wait_until_idle()
        assert (
            sender.send("two.alice@example.com").recipients["two.alice@example.com"].startswith("450 4.2.1 ")
        )
        Alias.objects.get().soft_delete()
        assert sender.send("one.alice@example.com").codes == ["550"]
        switch(space, False)
        assert sender.send("two.alice@example.com").codes == ["550"]
    site.postfix.wait_until_idle()

    assert len(site.sink.arrived) == 1
