"""People: how they come in, sign in, and are shut out."""

import re
from datetime import timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.usersessions.models import UserSession
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from accounts.password_links import password_link, send_password_link
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain

PASSWORD = "alice-password-1"


@pytest.fixture(autouse=True)
def _no_rate_limits() -> None:
    """The sign-in pages' limits count in the cache, across the tests of one process."""
    cache.clear()


def sign_in(client: Client, email: str, password: str = PASSWORD) -> bool:
    """Whether the sign-in page lets in."""
    client.post(reverse("account_login"), {"login": email, "password": password})
    return is_signed_in(client)


def is_signed_in(client: Client) -> bool:
    answer = client.get(reverse("alias-list"))
    if answer.status_code == 302:
        assert answer["Location"].startswith(reverse("account_login"))
        return False
    return answer.status_code == 200


@pytest.mark.parametrize("typed", ["alice@example.com", "ALICE@Example.COM", " alice@example.com "])
def test_people_sign_in_with_their_address_in_any_case(client: Client, alice: User, typed: str) -> None:
    assert sign_in(client, typed)


def test_people_sign_in_with_u_labels(client: Client, db: None) -> None:
    User.objects.create_user("eva@bücher.example", PASSWORD)

    assert sign_in(client, "eva@xn--bcher-kva.example")
    client.logout()
    assert sign_in(client, "Eva@Bücher.example")


def test_a_wrong_password_does_not_let_in(client: Client, alice: User) -> None:
    assert not sign_in(client, alice.email, "wrong")


def test_a_user_without_password_cannot_sign_in(client: Client, db: None) -> None:
    user = User.objects.create_user("eva@example.com")

    assert not user.has_usable_password()
    assert not sign_in(client, user.email, "")


def test_a_created_user_has_a_verified_primary_address(db: None) -> None:
    user = User.objects.create_user("Eva@EXAMPLE.com", PASSWORD, name="Eva")

    address = EmailAddress.objects.get()
    assert (user.email, user.name) == ("eva@example.com", "Eva")
    assert (address.user, address.email, address.verified, address.primary) == (
        user,
        "eva@example.com",
        True,
        True,
    )
    assert user.check_password(PASSWORD)
    assert not user.is_superuser


def test_a_superuser_is_a_global_admin(root: User) -> None:
    assert root.is_superuser
    assert root.is_staff
    assert root.has_perm("domains.change_domain")


@pytest.mark.parametrize("email", ["", "eva", "eva@localhost", "eva@example.com\nx", "a b@example.com"])
def test_a_malformed_address_makes_no_user(db: None, email: str) -> None:
    with pytest.raises(ValidationError):
        User.objects.create_user(email)

    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["alice@example.com", "ALICE@example.com", "alice2@example.com"])
def test_an_address_that_somebody_has_makes_no_user(alice: User, email: str) -> None:
    EmailAddress.objects.create(user=alice, email="alice2@example.com", verified=True)

    with pytest.raises(ValidationError):
        User.objects.create_user(email)

    assert User.objects.count() == 1


@pytest.fixture
def alias(alice: User, monkeypatch: pytest.MonkeyPatch) -> Alias:
    """Alice's, on a domain that has U-labels."""
    domain = Domain.objects.create(name="xn--bcher-kva.example", anonmail_enabled=True, audience="everyone")
    return issue(owner=alice, domain=domain.name, hostname="github.com")


def forms_of(alias: Alias) -> list[str]:
    local_part = alias.address.partition("@")[0]
    return [
        alias.address,
        alias.address.upper(),
        f"{local_part}+tag@xn--bcher-kva.example",
        f"{local_part}@Bücher.example",
        f"{local_part.upper()}+x+y@BÜCHER.example",
    ]


@pytest.mark.parametrize("form", range(5))
@pytest.mark.parametrize("state", ["enabled", "disabled", "deleted", "stripped"])
def test_an_alias_is_nobodys_own_address(alias: Alias, form: int, state: str) -> None:
    if state == "disabled":
        alias.disable()
    if state == "deleted":
        alias.soft_delete()
    if state == "stripped":
        Alias.objects.filter(pk=alias.pk).strip()

    with pytest.raises(ValidationError, match="cannot be used here"):
        User.objects.create_user(forms_of(alias)[form])


@pytest.mark.parametrize("form", range(5))
def test_an_alias_cannot_be_added_on_the_page_of_addresses(client: Client, alias: Alias, form: int) -> None:
    assert sign_in(client, "alice@example.com")

    answer = client.post(reverse("address-list"), {"email": forms_of(alias)[form]})

    assert "cannot be used here" in answer.content.decode()
    assert EmailAddress.objects.count() == 1


def test_an_address_added_on_the_page_is_stored_in_its_one_form(client: Client, alice: User) -> None:
    assert sign_in(client, "alice@example.com")

    client.post(reverse("address-list"), {"email": "Alice+Home@BÜCHER.example"})

    added = EmailAddress.objects.get(primary=False)
    assert (added.email, added.verified) == ("alice+home@xn--bcher-kva.example", False)


@pytest.mark.parametrize("typed", ["eva@xn--fa-hia.example", "Eva@Faß.example"])
def test_the_mail_for_a_forgotten_password_goes_to_the_accounts_address(
    client: Client, db: None, typed: str
) -> None:
    User.objects.create_user("eva@faß.example", PASSWORD)

    client.post(reverse("account_reset_password"), {"email": typed})

    assert [message.to for message in mail.outbox] == [["eva@xn--fa-hia.example"]]
    assert "/accounts/password/reset/key/" in mail.outbox[0].body


def test_signing_up_is_closed_unless_opened(client: Client, db: None) -> None:
    client.post(
        reverse("account_signup"),
        {"email": "eva@example.com", "password1": "a-long-passphrase", "password2": "a-long-passphrase"},
    )

    assert not User.objects.exists()


def sign_up(client: Client, email: str) -> str:
    answer = client.post(
        reverse("account_signup"),
        {"email": email, "password1": "a-long-passphrase", "password2": "a-long-passphrase"},
    )
    return answer.content.decode()


def test_where_signing_up_is_open_the_address_must_be_verified(
    client: Client, db: None, settings: Settings
) -> None:
    settings.SIGNUP_OPEN = True

    sign_up(client, "Eva@Example.com")

    address = EmailAddress.objects.get()
    assert (address.email, address.verified) == ("eva@example.com", False)
    assert not is_signed_in(client)
    assert not sign_in(client, "eva@example.com", "a-long-passphrase")


@pytest.mark.parametrize("form", range(5))
def test_nobody_signs_up_with_an_alias(client: Client, alias: Alias, settings: Settings, form: int) -> None:
    settings.SIGNUP_OPEN = True

    sign_up(client, forms_of(alias)[form])

    assert User.objects.count() == 1
    assert mail.outbox == []


def confirm(client: Client, address: EmailAddress) -> None:
    link = reverse("account_confirm_email", args=[EmailConfirmationHMAC(address).key])
    client.get(link)
    client.post(link)
    address.refresh_from_db()


def test_the_link_in_the_mail_verifies_an_address(client: Client, alice: User) -> None:
    address = EmailAddress.objects.create(user=alice, email="alice@home.test")
    client.force_login(alice)

    confirm(client, address)

    assert address.verified


@pytest.mark.parametrize("tag", ["", "+tag"])
def test_an_address_that_became_an_alias_meanwhile_is_not_verified(
    client: Client, alice: User, example_com: Domain, tag: str
) -> None:
    address = EmailAddress.objects.create(user=alice, email=f"github.alpha{tag}@example.com")
    Alias.objects.create(address="github.alpha@example.com", domain=example_com, owner=alice)
    client.force_login(alice)

    confirm(client, address)

    assert not address.verified


def test_deactivating_ends_every_session_and_activating_brings_none_back(client: Client, alice: User) -> None:
    assert sign_in(client, alice.email)

    User.objects.get(pk=alice.pk).deactivate()

    was_signed_in = is_signed_in(client)
    assert not was_signed_in
    assert not UserSession.objects.filter(user=alice).exists()
    assert not sign_in(client, alice.email)

    User.objects.get(pk=alice.pk).activate()

    assert not is_signed_in(client)
    assert sign_in(client, alice.email)


def test_a_session_dies_though_the_user_is_active_again_at_once(client: Client, alice: User) -> None:
    assert sign_in(client, alice.email)

    alice.deactivate()
    alice.activate()

    assert not is_signed_in(client)


def test_deactivating_one_user_leaves_the_others_signed_in(
    client: Client, alice: User, mallory: User
) -> None:
    assert sign_in(client, alice.email)

    mallory.deactivate()

    assert is_signed_in(client)


def test_a_new_password_ends_the_other_sessions(client: Client, alice: User) -> None:
    assert sign_in(client, alice.email)

    alice.set_password("another-passphrase")
    alice.save()

    assert not is_signed_in(client)


def test_credentials_older_than_the_last_deactivation_are_dead(alice: User) -> None:
    before, after = alice.date_joined, alice.date_joined + timedelta(days=1)
    with time_machine.travel(alice.date_joined + timedelta(hours=1), tick=False):
        alice.deactivate()
        alice.activate()

    assert not alice.accepts_credentials_of(before)
    assert alice.accepts_credentials_of(after)


def follow(client: Client, link: str) -> str | None:
    """The page with the form behind a password link; None where the link is dead."""
    answer = client.get(link.partition("://")[2].partition("/")[2].join(["/", ""]))
    return answer["Location"] if answer.status_code == 302 else None


def choose_password(client: Client, link: str, password: str) -> bool:
    page = follow(client, link)
    if page is None:
        return False
    answer = client.post(page, {"password1": password, "password2": password})
    return answer.status_code == 302


def test_the_password_link_works_once(client: Client, db: None) -> None:
    user = User.objects.create_user("eva@example.com")
    link = password_link(user)

    chosen = choose_password(client, link, "a-long-passphrase")
    again = choose_password(Client(), link, "another-long-passphrase")

    assert chosen
    assert not again
    assert sign_in(Client(), "eva@example.com", "a-long-passphrase")


def test_the_password_link_dies_after_three_days(client: Client, db: None) -> None:
    user = User.objects.create_user("eva@example.com")
    link = password_link(user)

    with time_machine.travel(user.date_joined + timedelta(days=3, minutes=5)):
        assert follow(client, link) is None


def test_the_password_link_goes_to_the_users_own_address(db: None, settings: Settings) -> None:
    settings.SITE_URL = "https://anonmail.example.com"
    user = User.objects.create_user("eva@example.com", name="Eva")

    send_password_link(user)

    (message,) = mail.outbox
    assert message.to == ["eva@example.com"]
    assert re.search(r"^https://anonmail\.example\.com/accounts/password/reset/key/\S+$", message.body, re.M)
    assert "\n" not in message.subject


def test_looking_up_who_signs_in_is_one_query(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # the user, by the unique address
    with django_assert_num_queries(1):
        assert User.objects.get_by_natural_key("ALICE@example.com") == alice


@pytest.mark.parametrize("typed", ["", "nobody", "nobody@example.com"])
def test_nobody_signs_in_with_an_address_that_is_nobodys(alice: User, typed: str) -> None:
    with pytest.raises(User.DoesNotExist):
        User.objects.get_by_natural_key(typed)


def test_the_database_itself_refuses_capitals(alice: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=alice.pk).update(email="Alice@example.com")
