"""What the environment says about signing in elsewhere is read as docs/sign-in.md says, or named as wrong."""

from pathlib import Path
from typing import Any

import pytest

from anonmail_site import sign_in_settings
from anonmail_site.environment import MISREAD, env

MAIN = {
    "OIDC_PROVIDERS": "main",
    "OIDC_MAIN_ISSUER": "https://id.example.com/realms/main",
    "OIDC_MAIN_CLIENT_ID": "anonmail",
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set values of the environment; what was misread is forgotten after the test."""
    for name in list(MISREAD):
        monkeypatch.delitem(MISREAD, name)

    def give(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setitem(env.ENVIRON.env, name, value)

    yield give
    MISREAD.clear()


def test_nothing_is_on_by_default() -> None:
    assert sign_in_settings.openid_providers() == ()
    assert sign_in_settings.trusted_proxy() is None
    assert sign_in_settings.directory() is None
    assert {name for name in MISREAD if name.startswith(("OIDC", "PROXY", "LDAP"))} == set()


def test_a_provider_believes_little_by_default(given: Any) -> None:
    given(**MAIN)

    (provider,) = sign_in_settings.openid_providers()

    assert (provider.key, provider.name, provider.scopes) == ("main", "Main", ("openid", "email", "profile"))
    assert (provider.new_people, provider.vouches_for, provider.trusts_addresses) == ((), (), False)
    assert not provider.gives_rights
    assert not provider.may_bring("example.com")


def test_any_number_of_providers_has_settings_of_its_own(given: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    given(
        **MAIN | {"OIDC_PROVIDERS": "main, other-one"},
        OIDC_MAIN_CLIENT_SECRET_FILE=str(secret),
        OIDC_MAIN_NEW_PEOPLE="Example.COM, bücher.example",
        OIDC_MAIN_VOUCHES_FOR="example.com",
        OIDC_MAIN_SECOND_FACTOR="mfa,otp",
        OIDC_MAIN_SCOPES="email groups",
        OIDC_OTHER_ONE_ISSUER="https://other.example.com",
        OIDC_OTHER_ONE_CLIENT_ID="x",
        OIDC_OTHER_ONE_TRUST_EMAIL="true",
        OIDC_OTHER_ONE_NEW_PEOPLE="*",
    )

    main, other = sign_in_settings.openid_providers()

    assert main.client_secret == "s3cret"
    assert "s3cret" not in repr(main)
    assert main.new_people == ("example.com", "xn--bcher-kva.example")
    assert main.scopes == ("openid", "email", "groups")
    assert (main.vouches_for, main.second_factor) == (("example.com",), ("mfa", "otp"))
    assert other.trusts_addresses
    assert other.may_bring("anything.test")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"OIDC_PROVIDERS": "Main Provider"}, "OIDC_PROVIDERS"),
        ({"OIDC_MAIN_ISSUER": ""}, "OIDC_MAIN_ISSUER"),
        ({"OIDC_MAIN_CLIENT_ID": ""}, "OIDC_MAIN_CLIENT_ID"),
        ({"OIDC_MAIN_NEW_PEOPLE": "example com"}, "OIDC_MAIN_NEW_PEOPLE"),
        ({"OIDC_MAIN_VOUCHES_FOR": "*"}, "OIDC_MAIN_VOUCHES_FOR"),
    ],
)
def test_a_wrong_value_of_a_provider_is_named(given: Any, changes: dict[str, str], named: str) -> None:
    given(**MAIN | changes)

    found = sign_in_settings.openid_providers()

    assert set(MISREAD) == {named}
    assert not any(provider.trusts_addresses or provider.vouches_for for provider in found)


def test_a_proxy_has_headers(given: Any) -> None:
    given(PROXY_USER_HEADER="X-Remote-User", PROXY_GROUPS_HEADER="", PROXY_NEW_PEOPLE="example.com")

    proxy = sign_in_settings.trusted_proxy()

    assert proxy is not None
    assert proxy.meta_names == ("HTTP_X_REMOTE_USER", "HTTP_REMOTE_EMAIL", "HTTP_REMOTE_NAME")
    assert proxy.trusts_addresses


def test_a_header_that_cannot_be_one_is_named(given: Any) -> None:
    given(PROXY_USER_HEADER="Remote User:")

    assert sign_in_settings.trusted_proxy() is None
    assert set(MISREAD) == {"PROXY_USER_HEADER"}


def test_a_directory_needs_a_place_for_people_and_a_filter(given: Any) -> None:
    given(LDAP_URI="ldaps://ldap.test", LDAP_USER_BASE="dc=test", LDAP_BIND_PASSWORD="p4ssword")
    directory = sign_in_settings.directory()
    right = dict(MISREAD)
    given(LDAP_USER_BASE="", LDAP_USER_FILTER="(mail=%s%(x)s)")
    sign_in_settings.directory()

    assert directory is not None
    assert "p4ssword" not in repr(directory)
    assert right == {}
    assert set(MISREAD) == {"LDAP_USER_BASE", "LDAP_USER_FILTER"}
