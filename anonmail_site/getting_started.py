"""What a person does first, until it is done."""

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db.models import Exists
from django.urls import reverse
from django.utils.translation import gettext

from accounts.adapter import SECOND_FACTORS
from accounts.models import User
from aliases.models import Alias
from tokens.models import Token


@dataclass(frozen=True)
class Step:
    title: str
    url: str
    is_done: bool


def first_steps(user: User) -> list[Step]:
    """The first steps of the user; none once all are done, or were hidden."""
    if not user.has_first_steps:
        return []
    aliases = Alias.objects.owned_by(user).present()
    done = User.objects.filter(pk=user.pk).values_list(
        Exists(aliases),
        Exists(aliases.exclude(forwards=0, blocks=0)),
        Exists(Token.objects.owned_by(user)),
        Exists(EmailAddress.objects.filter(user=user, verified=True, primary=False)),
        Exists(Authenticator.objects.filter(user=user, type__in=SECOND_FACTORS)),
    )
    steps = [
        Step(title, url, is_done)
        for (title, url), is_done in zip(
            (
                (gettext("Create an alias"), "#quick-hostname"),
                (gettext("Copy it and give it to a website; its first mail ticks this off"), ""),
                (gettext("Let Bitwarden create aliases, with a token"), reverse("token-new")),
                (gettext("Verify a second address, as another mailbox"), reverse("address-list")),
                (gettext("Protect your sign-in with a second factor"), reverse("mfa_index")),
            ),
            done.get(),
            strict=True,
        )
    ]
    if all(step.is_done for step in steps):
        User.objects.filter(pk=user.pk).update(has_first_steps=False)
        return []
    return steps
