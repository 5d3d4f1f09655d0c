"""The token page's form."""

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.forms import TextField
from core.refusals import RuleError
from tokens.models import NAME_MAX_CHARACTERS, Token


class NewTokenForm(forms.Form):
    """What a token is for, how long it lasts and from where it works."""

    LIFETIMES = (
        ("", _("never")),
        ("30", _("in 30 days")),
        ("90", _("in 90 days")),
        ("365", _("in a year")),
    )

    name = TextField(
        label=_("Name"),
        max_length=NAME_MAX_CHARACTERS,
        help_text=_("What it is for, as in “Bitwarden on the phone”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    days = forms.TypedChoiceField(
        label=_("Expires"), required=False, choices=LIFETIMES, coerce=int, empty_value=None
    )
    networks = TextField(
        label=_("Only from these networks"),
        required=False,
        max_length=4000,
        help_text=_(
            "Addresses or networks as 192.0.2.7 or 2001:db8::/32, one on a line. Empty: from anywhere."
        ),
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def issue(self, owner: User) -> tuple[Token, str] | None:
        """The new token and its secret; None, and the reason beside its field, where it was refused."""
        data: dict[str, Any] = self.cleaned_data
        expires = timezone.now() + timedelta(days=data["days"]) if data["days"] else None
        try:
            return Token.objects.issue(
                owner=owner,
                name=data["name"],
                expires=expires,
                networks=[text for text in re.split(r"[\s,;]+", data["networks"]) if text],
            )
        except RuleError as error:
            self.add_error("networks", str(error))
            return None
