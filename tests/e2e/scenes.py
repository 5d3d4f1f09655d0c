"""Every page there is, with people and things on it (`stage.py`): what axe looks at and `make screenshots`
shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.test import Client

from accounts.models import User
from accounts.organisation.emergency import emergency_link
from accounts.password_links import password_link
from aliases.models import Alias, NameSpace
from contacts.models import Contact
from domains.models import DkimKey
from hooks.models import Hook
from rules.models import Rule
from tests.e2e.stage import Stage
from tests.rig.signing_in import half_signed_in, signed_in

PASSKEYS = "/accounts/2fa/webauthn/"


@dataclass(frozen=True)
class Scene:
    """A page as somebody sees it. `who` names a person of the stage; None is signed out."""

    name: str
    who: str | None
    path: Callable[[Stage], str]
    # Has given the password, not yet the second factor.
    is_half_signed_in: bool = False

    def client(self, stage: Stage, **options: Any) -> Client:
        """A client of whoever sees the scene."""
        if self.who is None:
            return Client(**options)
        user: User = getattr(stage, self.who)
        if self.is_half_signed_in:
            return half_signed_in(user, f"{self.who}-password-1", **options)
        return signed_in(user, **options)


def rule_of(stage: Stage) -> int:
    """The first of alice's rules."""
    return Rule.objects.owned_by(stage.alice).in_order()[0].pk


def name_space(number: int) -> int:
    """The key of alice's first (on) or second (off) name space."""
    return NameSpace.objects.filter(owner__email="alice@example.com").order_by("pk")[number].pk


def hook(number: int) -> int:
    """The key of alice's first or second web hook."""
    return Hook.objects.owned_by(User.objects.get(email="alice@example.com"))[number].pk


def verification_key() -> str:
    """What the link carries that verifies alice's further address."""
    return EmailConfirmationHMAC(EmailAddress.objects.get(email="alice@work.test")).key


def own_address(user: User) -> int:
    """The key of the user's primary address."""
    return EmailAddress.objects.get(user=user, primary=True).pk


def contact_of(stage: Stage) -> Contact:
    """Somebody who has written to the alias, and whom alice has answered."""
    return Contact.objects.of(stage.alias).get(address="jane@shop.test")


def news_alias() -> Alias:
    """An alias that forwards as it came, and has no correspondents."""
    return Alias.objects.get(hostname="news.test")


SCENES = [
    Scene("sign-in", None, lambda stage: "/accounts/login/"),
    Scene("sign-up-closed", None, lambda stage: "/accounts/signup/"),
    Scene("password-forgotten", None, lambda stage: "/accounts/password/reset/"),
    Scene("password-chosen", None, lambda stage: urlsplit(password_link(stage.newcomer)).path),
    Scene("password-link-over", None, lambda stage: "/accounts/password/reset/key/1-set-password/"),
    Scene("aliases", "alice", lambda stage: "/aliases/"),
    Scene("aliases-empty", "newcomer", lambda stage: "/aliases/"),
    Scene("aliases-no-domain", "outsider", lambda stage: "/aliases/"),
    Scene("aliases-no-match", "alice", lambda stage: "/aliases/?q=nothing-like-it"),
    Scene("alias-new", "alice", lambda stage: "/aliases/new/"),
    Scene("alias-new-no-domain", "outsider", lambda stage: "/aliases/new/"),
    Scene("alias", "alice", lambda stage: f"/aliases/{stage.alias.pk}/"),
    Scene("alias-sending", "alice", lambda stage: f"/aliases/{stage.alias.pk}/#sending"),
    Scene("contacts", "alice", lambda stage: f"/aliases/{stage.alias.pk}/contacts/"),
    Scene(
        "contacts-new",
        "alice",
        lambda stage: f"/aliases/{stage.alias.pk}/contacts/?new={contact_of(stage).pk}",
    ),
    Scene("contacts-no-match", "alice", lambda stage: f"/aliases/{stage.alias.pk}/contacts/?q=nothing"),
    Scene("contacts-empty", "alice", lambda stage: f"/aliases/{news_alias().pk}/contacts/"),
    Scene("contact", "alice", lambda stage: f"/contacts/{contact_of(stage).pk}/"),
    Scene("contact-remove", "alice", lambda stage: f"/contacts/{contact_of(stage).pk}/remove/"),
    Scene("aliases-deleted", "alice", lambda stage: "/aliases/deleted/"),
    Scene("alias-deleted", "alice", lambda stage: f"/aliases/{stage.deleted.pk}/"),
    Scene("alias-remove", "alice", lambda stage: f"/aliases/{stage.deleted.pk}/remove/"),
    Scene("import", "alice", lambda stage: "/aliases/import/"),
    Scene("import-right", "importer", lambda stage: "/aliases/import/"),
    Scene("import-wrong", "mistaken", lambda stage: "/aliases/import/"),
    Scene("import-server", "root", lambda stage: "/aliases/import/"),
    Scene("import-server-right", "mover", lambda stage: "/aliases/import/"),
    Scene("import-server-wrong", "mistaken_mover", lambda stage: "/aliases/import/"),
    Scene("failed", "alice", lambda stage: "/failed-deliveries/"),
    Scene("failed-empty", "newcomer", lambda stage: "/failed-deliveries/"),
    Scene("tokens", "alice", lambda stage: "/tokens/"),
    Scene("tokens-empty", "newcomer", lambda stage: "/tokens/"),
    Scene("token-new", "alice", lambda stage: "/tokens/new/"),
    Scene("token-revoke", "alice", lambda stage: f"/tokens/{stage.token.pk}/revoke/"),
    Scene("hooks", "alice", lambda stage: "/hooks/"),
    Scene("hooks-empty", "newcomer", lambda stage: "/hooks/"),
    Scene("hook-new", "alice", lambda stage: "/hooks/new/"),
    Scene("hook", "alice", lambda stage: f"/hooks/{hook(0)}/"),
    Scene("hook-stopped", "alice", lambda stage: f"/hooks/{hook(1)}/"),
    Scene("hook-edit", "alice", lambda stage: f"/hooks/{hook(0)}/edit/"),
    Scene("hook-secret", "alice", lambda stage: f"/hooks/{hook(0)}/secret/"),
    Scene("hook-remove", "alice", lambda stage: f"/hooks/{hook(0)}/remove/"),
    Scene("rules", "alice", lambda stage: "/rules/"),
    Scene("rules-empty", "newcomer", lambda stage: "/rules/"),
    Scene("rule-new", "alice", lambda stage: "/rules/new/"),
    Scene("rule", "alice", lambda stage: f"/rules/{rule_of(stage)}/"),
    Scene("rule-remove", "alice", lambda stage: f"/rules/{rule_of(stage)}/remove/"),
    Scene("rule-try", "alice", lambda stage: "/rules/try/"),
    Scene("name-spaces", "alice", lambda stage: "/aliases/on-the-fly/"),
    Scene("name-spaces-empty", "outsider", lambda stage: "/aliases/on-the-fly/"),
    Scene("name-space", "alice", lambda stage: f"/aliases/on-the-fly/{name_space(0)}/"),
    Scene("name-space-off", "alice", lambda stage: f"/aliases/on-the-fly/{name_space(1)}/"),
    Scene("domain-spaces", "root", lambda stage: "/domains/xn--bcher-kva.example/on-the-fly/"),
    Scene("domain-spaces-none", "root", lambda stage: "/domains/example.com/on-the-fly/"),
    Scene(
        "domain-space-take",
        "alice",
        lambda stage: f"/domains/xn--bcher-kva.example/on-the-fly/{name_space(1)}/take/",
    ),
    Scene("addresses", "alice", lambda stage: "/addresses/"),
    Scene("address-key", "alice", lambda stage: f"/addresses/{stage.second.pk}/key/"),
    Scene("address-key-none", "newcomer", lambda stage: f"/addresses/{own_address(stage.newcomer)}/key/"),
    Scene("address-key-remove", "alice", lambda stage: f"/addresses/{stage.second.pk}/key/remove/"),
    Scene("address-remove", "alice", lambda stage: f"/addresses/{stage.second.pk}/remove/"),
    Scene("address-verify", "alice", lambda stage: f"/accounts/confirm-email/{verification_key()}/"),
    Scene("address-undo", None, lambda stage: stage.undo),
    Scene("address-undo-over", None, lambda stage: "/addresses/undo/x/"),
    Scene("figures", "alice", lambda stage: "/aliases/figures/"),
    Scene("account", "alice", lambda stage: "/account/"),
    Scene("account-replies", "alice", lambda stage: "/account/replies/"),
    Scene("account-delete", "alice", lambda stage: "/account/delete/"),
    Scene("password", "alice", lambda stage: "/accounts/password/change/"),
    Scene("password-first", "passkey_holder", lambda stage: "/accounts/password/set/"),
    Scene("password-saved", None, lambda stage: "/accounts/password/reset/key/done/"),
    Scene("second-factor", "alice", lambda stage: "/accounts/2fa/"),
    Scene("second-factor-app", "alice", lambda stage: "/accounts/2fa/totp/activate/"),
    Scene("passkey", "alice", lambda stage: "/accounts/2fa/webauthn/add/"),
    Scene("second-factor-on", "careful", lambda stage: "/accounts/2fa/"),
    Scene("second-factor-off", "careful", lambda stage: "/accounts/2fa/totp/deactivate/"),
    Scene("second-factor-asked", "careful", lambda stage: "/accounts/2fa/authenticate/", True),
    Scene("recovery-codes", "careful", lambda stage: "/accounts/2fa/recovery-codes/"),
    Scene("recovery-codes-new", "careful", lambda stage: "/accounts/2fa/recovery-codes/generate/"),
    Scene("passkeys", "careful", lambda stage: PASSKEYS),
    Scene("passkey-rename", "careful", lambda stage: f"{PASSKEYS}keys/{stage.passkey.pk}/edit/"),
    Scene("passkey-remove", "careful", lambda stage: f"{PASSKEYS}keys/{stage.passkey.pk}/remove/"),
    Scene("confirm-password", "alice", lambda stage: "/accounts/reauthenticate/"),
    Scene("confirm-code", "careful", lambda stage: "/accounts/2fa/reauthenticate/"),
    Scene("confirm-passkey", "careful", lambda stage: "/accounts/2fa/webauthn/reauthenticate/"),
    Scene("sign-out", "alice", lambda stage: "/accounts/logout/"),
    Scene("account-inactive", None, lambda stage: "/accounts/inactive/"),
    Scene("address-link-over", None, lambda stage: "/accounts/confirm-email/x/"),
    Scene("password-requested", None, lambda stage: "/accounts/password/reset/done/"),
    Scene("verification-sent", None, lambda stage: "/accounts/confirm-email/"),
    Scene("connected", "alice", lambda stage: "/account/connected/"),
    Scene("connected-none", "newcomer", lambda stage: "/account/connected/"),
    Scene("emergency", None, lambda stage: urlsplit(emergency_link(stage.root)).path),
    Scene("emergency-over", None, lambda stage: "/accounts/emergency/x/"),
    Scene("sessions", "alice", lambda stage: "/accounts/sessions/"),
    Scene("domains", "alice", lambda stage: "/domains/"),
    Scene("domain-access", "alice", lambda stage: "/domains/xn--bcher-kva.example/"),
    Scene(
        "domain-revoke",
        "alice",
        lambda stage: f"/domains/xn--bcher-kva.example/{stage.newcomer.access_grants.get().pk}/revoke/",
    ),
    Scene("domain-figures", "root", lambda stage: "/domains/example.com/figures/"),
    Scene("domain-figures-none", "alice", lambda stage: "/domains/xn--bcher-kva.example/figures/"),
    Scene("domain-dns", "alice", lambda stage: "/domains/xn--bcher-kva.example/dns/"),
    Scene("domain-dns-unchecked", "root", lambda stage: "/domains/example.com/dns/"),
    Scene(
        "domain-dkim-drop",
        "alice",
        lambda stage: f"/domains/xn--bcher-kva.example/dns/keys/{DkimKey.objects.all()[0].pk}/drop/",
    ),
    Scene("domains-admin", "root", lambda stage: "/domains/"),
    Scene("admin", "root", lambda stage: "/admin/"),
    Scene("not-found", "alice", lambda stage: "/nothing/"),
    Scene("forbidden", "alice", lambda stage: "/admin/login/"),
]
