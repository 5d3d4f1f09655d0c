"""The token page's form."""

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.forms import TextField
from tokens.models import NAME_MAX_CHARACTERS, InvalidNetwork, Token
from tokens.scopes import LABELS, SENTENCES, Scope

_written = lazy(format_html, SafeString)


class NewTokenForm(forms.Form):
    """What a token is for, how long it lasts, and from where it works."""

    LIFETIMES = (("", _("never")), ("30", _("in 30 days")), ("90", _("in 90 days")), ("365", _("in a year")))

    name = TextField(
        label=_("Name"),
        max_length=NAME_MAX_CHARACTERS,
        help_text=_("What it is for, such as “Bitwarden on my phone”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.TypedMultipleChoiceField(
        label=_("What it may do"),
        choices=[
            (scope.value, _written("<span><strong>{}</strong>: {}</span>", LABELS[scope], SENTENCES[scope]))
            for scope in Scope
        ],
        coerce=int,
        initial=[Scope.CREATE.value],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one right for the token.")},
        help_text=_(
            "The first is what Bitwarden needs. The apps and browser extensions of SimpleLogin and "
            "addy.io need the first three."
        ),
    )
    days = forms.TypedChoiceField(
        label=_("Expires"), required=False, choices=LIFETIMES, coerce=int, empty_value=None
    )
    networks = TextField(
        label=_("Only from these networks"),
        required=False,
        max_length=4000,
        help_text=_(
            "Addresses or networks such as 192.0.2.7 or 2001:db8::/32, one per line. Empty: from anywhere."
        ),
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def issue(self, owner: User) -> tuple[Token, str] | None:
        """The new token and its secret; or None, with the reason beside its field, if it is refused.

        Raises OwnerChanged.
        """
        data: dict[str, Any] = self.cleaned_data
        expires = timezone.now() + timedelta(days=data["days"]) if data["days"] else None
        try:
            return Token.objects.issue(
                owner=owner,
                name=data["name"],
                scopes=Scope(sum(data["scopes"])),
                expires=expires,
                networks=[text for text in re.split(r"[\s,;]+", data["networks"]) if text],
            )
        except InvalidNetwork as error:
            self.add_error("networks", str(error))
            return None
