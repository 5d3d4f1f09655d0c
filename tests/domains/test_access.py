"""Who may create on a domain, and what a domain's own verbs do."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aliases import exceptions as refusals
from aliases.choosing import best_domain_of, choose, choose_domain
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences
from domains.models import AccessGrant, Audience, Domain
from tokens.models import Token


def usable(user: User) -> list[str]:
    return list(Domain.objects.usable_by(user).values_list("name", flat=True))


def test_ones_own_domain_is_usable(alice: User, other_org: Domain) -> None:
    assert usable(alice) == ["example.com"]


def test_an_account_alone_gives_no_right(mallory: User, example_com: Domain, other_org: Domain) -> None:
    assert usable(mallory) == []


def test_a_domain_that_only_ends_alike_is_not_ones_own(example_com: Domain) -> None:
    user = User.objects.create_user("eve@sub.example.com")

    assert usable(user) == []


def test_a_manager_may_create(mallory: User, other_org: Domain, example_com: Domain) -> None:
    other_org.managers.add(mallory)

    assert usable(mallory) == ["other.org"]


def test_a_grant_lets_create_until_it_is_revoked(
    mallory: User, root: User, other_org: Domain, example_com: Domain
) -> None:
    other_org.grant(mallory, granted_by=root)
    granted = usable(mallory)

    other_org.revoke(mallory)

    assert granted == ["other.org"]
    assert usable(mallory) == []


def test_a_global_admin_may_create_on_every_domain(
    root: User, example_com: Domain, other_org: Domain
) -> None:
    assert usable(root) == ["example.com", "other.org"]


def test_the_audience_every_user_means_every_user(
    mallory: User, example_com: Domain, other_org: Domain
) -> None:
    Domain.objects.filter(pk=other_org.pk).update(audience=Audience.EVERYONE)

    assert usable(mallory) == ["other.org"]


def test_with_the_toggle_off_nobody_may_create(alice: User, root: User, example_com: Domain) -> None:
    example_com.audience = Audience.EVERYONE
    example_com.save()
    example_com.managers.add(alice)
    example_com.grant(alice)

    example_com.set_anonmail(False)

    assert usable(alice) == []
    assert usable(root) == []


@pytest.mark.parametrize("reason", ["own", "manager", "grant", "everyone", "superuser"])
def test_whoever_is_inactive_may_not_create_for_any_reason(
    alice: User, root: User, example_com: Domain, reason: str
) -> None:
    user = root if reason == "superuser" else alice
    if reason == "manager":
        example_com.managers.add(user)
    if reason == "grant":
        example_com.grant(user)
    if reason == "everyone":
        example_com.audience = Audience.EVERYONE
        example_com.save()
    was_usable = usable(user)

    user.deactivate()

    assert was_usable == ["example.com"]
    assert usable(user) == []


def test_an_address_with_u_labels_is_in_the_domain_of_a_labels(db: None) -> None:
    Domain.objects.create(name="xn--bcher-kva.example", anonmail_enabled=True)
    user = User.objects.create_user("Eva@Bücher.example")

    assert usable(user) == ["xn--bcher-kva.example"]


def test_several_reasons_give_the_domain_once(alice: User, mallory: User, example_com: Domain) -> None:
    example_com.audience = Audience.EVERYONE
    example_com.save()
    example_com.managers.add(alice, mallory)
    example_com.grant(alice)
    example_com.grant(mallory)

    assert usable(alice) == ["example.com"]


def test_the_rule_is_one_query_for_two_domains_and_for_five_hundred(
    alice: User, other_org: Domain, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    other_org.grant(alice)
    # the domains with their conditions
    with django_assert_num_queries(1):
        assert len(Domain.objects.usable_by(alice)) == 2

    Domain.objects.bulk_create(Domain(name=f"d{number}.test", anonmail_enabled=True) for number in range(500))
    AccessGrant.objects.bulk_create(
        AccessGrant(domain=domain, user=alice) for domain in Domain.objects.filter(name__endswith=".test")
    )

    with django_assert_num_queries(1):
        assert len(Domain.objects.usable_by(alice)) == 502


def test_choosing_a_domain_is_one_query_for_it_however_many_there_are(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Domain.objects.bulk_create(
        Domain(name=f"d{number}.test", anonmail_enabled=True, audience=Audience.EVERYONE)
        for number in range(500)
    )

    # the user's preferences, which stay with the user; the domain
    with django_assert_num_queries(2):
        assert choose_domain(alice)[0].name == "example.com"
    with django_assert_num_queries(1):
        assert choose_domain(alice, "d400.test")[0].name == "d400.test"


def test_managers_rule_their_domains_and_admins_rule_all(
    alice: User, root: User, example_com: Domain, other_org: Domain
) -> None:
    example_com.managers.add(alice)

    assert list(Domain.objects.managed_by(alice)) == [example_com]
    assert list(Domain.objects.managed_by(root)) == [example_com, other_org]


def test_an_inactive_manager_rules_nothing(alice: User, example_com: Domain) -> None:
    example_com.managers.add(alice)

    alice.deactivate()

    assert not Domain.objects.managed_by(alice).exists()


def test_a_second_grant_changes_nothing(alice: User, mallory: User, root: User, other_org: Domain) -> None:
    first = other_org.grant(alice, granted_by=root)

    second = other_org.grant(alice, granted_by=mallory)

    assert second == first
    assert second.granted_by == root
    assert AccessGrant.objects.count() == 1


def test_revoking_says_whether_there_was_a_grant(alice: User, other_org: Domain) -> None:
    other_org.grant(alice)

    assert other_org.revoke(alice) is True
    assert other_org.revoke(alice) is False


def test_a_grant_outlives_who_gave_it(alice: User, root: User, other_org: Domain) -> None:
    other_org.grant(alice, granted_by=root)

    root.delete()

    assert AccessGrant.objects.get().granted_by is None


def test_the_toggle_leaves_existing_aliases_alone(alice: User, example_com: Domain) -> None:
    alias = issue(owner=alice)

    example_com.set_anonmail(False)

    assert list(Alias.objects.receiving()) == [alias]
    with pytest.raises(refusals.NoUsableDomain):
        issue(owner=alice)


def test_a_domain_with_aliases_cannot_be_deleted(alice: User, example_com: Domain) -> None:
    issue(owner=alice)
    Alias.objects.all().strip()

    with pytest.raises(ProtectedError):
        example_com.delete()


@pytest.mark.parametrize(
    ("typed", "stored", "shown"),
    [
        ("Example.ORG", "example.org", "example.org"),
        (" example.org. ", "example.org", "example.org"),
        ("BÜCHER.example", "xn--bcher-kva.example", "bücher.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", "bücher.example"),
    ],
)
def test_a_domain_is_stored_in_a_labels_and_shown_in_u_labels(
    db: None, typed: str, stored: str, shown: str
) -> None:
    domain = Domain(name=typed)

    domain.full_clean()
    domain.save()

    domain.refresh_from_db()
    assert domain.name == stored
    assert str(domain) == shown


@pytest.mark.parametrize("typed", ["", "example", "exa mple.com", "192.0.2.7", "a@example.com", "-a.com"])
def test_what_is_no_domain_name_is_refused(db: None, typed: str) -> None:
    with pytest.raises(ValidationError):
        Domain(name=typed).full_clean()


def test_two_spellings_are_the_same_domain(example_com: Domain) -> None:
    with pytest.raises(ValidationError, match="exists already"):
        Domain(name="EXAMPLE.com.").full_clean()


def test_a_name_is_stored_in_its_one_form_without_validation_too(db: None) -> None:
    domain = Domain.objects.create(name="BÜCHER.example")

    domain.refresh_from_db()

    assert domain.name == "xn--bcher-kva.example"


people = st.fixed_dictionaries(
    {
        "email": st.sampled_from(["eve@one.test", "eve@two.test", "eve@sub.one.test"]),
        "is_superuser": st.booleans(),
        "is_active": st.booleans(),
    }
)
one_domain = st.fixed_dictionaries(
    {
        "anonmail_enabled": st.booleans(),
        "audience": st.sampled_from(list(Audience)),
        "manager": st.booleans(),
        "grant": st.booleans(),
    }
)
NAMES = ("one.test", "sub.one.test", "three.test", "two.test")


@pytest.mark.django_db
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(person=people, worlds=st.tuples(*[one_domain] * len(NAMES)), preferred=st.sampled_from([None, *NAMES]))
def test_the_rule_is_what_it_says(
    person: dict[str, Any], worlds: tuple[dict[str, Any], ...], preferred: str | None
) -> None:
    """The rule and the choice of a domain in SQL, against the same in plain Python."""
    with transaction.atomic():
        user = User.objects.create_user(**person)
        domains = {}
        for name, world in zip(NAMES, worlds, strict=True):
            domain = Domain.objects.create(
                name=name, anonmail_enabled=world["anonmail_enabled"], audience=world["audience"]
            )
            if world["manager"]:
                domain.managers.add(user)
            if world["grant"]:
                domain.grant(user)
            domains[name] = domain
        if preferred:
            AliasPreferences.objects.create(user=user, default_domain=domains[preferred])
        own = person["email"].partition("@")[2]
        allowed = [
            name
            for name, world in zip(NAMES, worlds, strict=True)
            if person["is_active"]
            and world["anonmail_enabled"]
            and (
                person["is_superuser"]
                or name == own
                or world["audience"] == Audience.EVERYONE
                or world["manager"]
                or world["grant"]
            )
        ]
        best = sorted(allowed, key=lambda name: (name != preferred, name != own, name))

        assert sorted(usable(user)) == allowed
        if best:
            assert choose(user).domain.name == best[0]
        else:
            with pytest.raises(refusals.NoUsableDomain):
                choose(user)
        # As it is read with a token.
        Token.objects.create(owner=user)
        read = Token.objects.annotate(domain=best_domain_of("owner")).get().domain
        assert (read and read[1]) == (best[0] if best else None)
        for name, world in zip(NAMES, worlds, strict=True):
            if name in allowed:
                assert choose(user, name).domain == domains[name]
            else:
                refusal = refusals.DomainForbidden if world["anonmail_enabled"] else refusals.DomainNotFound
                with pytest.raises(refusal):
                    choose(user, name)
        transaction.set_rollback(True)
