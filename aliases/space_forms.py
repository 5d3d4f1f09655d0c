"""The forms of name spaces: to whom they are given, and what their owners want of them."""

from typing import Any

from django import forms
from django.conf import settings
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.models import NameSpace
from aliases.models.name_space import KEY_WORD_MAX_CHARACTERS, NOTE_MAX_CHARACTERS, SUFFIX_MAX_CHARACTERS
from aliases.spaces import SpaceForbidden, change, give, give_subdomain
from core.exceptions import RuleError
from core.forms import TextField
from core.matching import PATTERN_MAX
from domains.forms import PersonForm
from domains.models import Domain

ALL, SUFFIX, SUBDOMAIN = "all", "suffix", "subdomain"
NAMES_MAX_CHARACTERS = 4000
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class GiveForm(PersonForm):
    """Who gets which names of a domain."""

    kind = forms.ChoiceField(label=_("Names"), widget=forms.RadioSelect)
    part = TextField(
        label=_("Suffix or subdomain"),
        required=False,
        max_length=SUFFIX_MAX_CHARACTERS,
        help_text=_("2 to 30 letters and digits, for example the person's name. Not for all names."),
        widget=forms.TextInput(attrs=_PLAIN),
    )
    field_order = ("kind", "part", "email")

    def __init__(self, *args: Any, domain: Domain, by: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.domain, self.by = domain, by
        choices = [
            (SUFFIX, gettext("with a suffix: *.alice@%(domain)s") % {"domain": domain}),
            (ALL, gettext("all names (catch-all): *@%(domain)s") % {"domain": domain}),
        ]
        if by.is_superuser:
            choices.append((SUBDOMAIN, gettext("a subdomain: *@alice.%(domain)s") % {"domain": domain}))
        kind: Any = self.fields["kind"]
        kind.choices = choices
        self.initial.setdefault("kind", SUFFIX)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("kind") in (SUFFIX, SUBDOMAIN) and not data.get("part"):
            self.add_error("part", gettext("Enter a suffix or the name of a subdomain."))
        return data

    def give(self) -> NameSpace | None:
        """The name space; or None, with the reason in the form, if it is refused."""
        owner = self.person(self.by)
        if owner is None:
            return None
        kind, part = self.cleaned_data["kind"], self.cleaned_data["part"]
        try:
            if kind == SUBDOMAIN:
                return give_subdomain(domain=self.domain, owner=owner, label=part)
            return give(domain=self.domain, owner=owner, suffix=part if kind == SUFFIX else "")
        except SpaceForbidden as error:
            self.add_error(None, str(error))
        except RuleError as error:
            self.add_error("kind" if kind == ALL else "part", str(error))
        return None


class SpaceForm(forms.Form):
    """What the owner of a name space wants of it."""

    KINDS = (
        ("", _("patterns, such as shop-* or ??-news")),
        ("expression", _("one regular expression")),
    )

    names = TextField(
        label=_("Names that become aliases"),
        required=False,
        max_length=NAMES_MAX_CHARACTERS,
        help_text=_(
            "One pattern a line, for what comes before the key word and the suffix. Empty: every name."
        ),
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 4}),
    )
    kind = forms.ChoiceField(label=_("Written as"), choices=KINDS, required=False, widget=forms.RadioSelect)
    key_word = TextField(
        label=_("Key word"),
        required=False,
        max_length=KEY_WORD_MAX_CHARACTERS,
        help_text=_(
            "If you set k7, only names like shop.k7 become aliases, which strangers cannot guess. Whoever "
            "has one such address knows the key word: change it when it leaks. Aliases that exist stay."
        ),
        widget=forms.TextInput(attrs=_PLAIN),
    )
    per_day = forms.IntegerField(
        label=_("New aliases a day"),
        min_value=1,
        help_text=_(
            "Once mail has made so many, senders of mail to further names are told to try again later."
        ),
    )
    rules = TextField(
        label=_("Other destinations"),
        required=False,
        max_length=NAMES_MAX_CHARACTERS,
        help_text=format_lazy(
            "{} <code>shop.* me@example.net</code>",
            _(
                "One rule a line: a pattern for names, a space, and one of your addresses. The first that "
                "fits counts; other mail goes to your primary address. For example:"
            ),
        ),
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 3}),
    )
    note = TextField(label=_("Note"), required=False, max_length=NOTE_MAX_CHARACTERS)

    def __init__(self, *args: Any, space: NameSpace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.space = space
        per_day: Any = self.fields["per_day"]
        per_day.max_value = settings.ALIASES_BY_MAIL_PER_DAY
        per_day.widget.attrs["max"] = settings.ALIASES_BY_MAIL_PER_DAY
        self.initial = {
            "names": space.names,
            "kind": "expression" if space.is_expression else "",
            "key_word": space.key_word,
            "per_day": min(space.per_day, settings.ALIASES_BY_MAIL_PER_DAY),
            "rules": "".join(f"{rule.glob} {rule.address.email}\n" for rule in space.rows),
            "note": space.note,
        }

    def clean_names(self) -> str:
        names: str = self.cleaned_data["names"]
        if self.data.get("kind") == "expression" and len(names) > PATTERN_MAX:
            raise forms.ValidationError(
                gettext("A pattern has at most %(max)s characters.") % {"max": PATTERN_MAX}
            )
        return names

    def clean_rules(self) -> list[tuple[str, str]]:
        lines = [line.split() for line in self.cleaned_data["rules"].splitlines() if line.strip()]
        if wrong := next((line for line in lines if len(line) != 2), None):
            raise forms.ValidationError(
                gettext("“%(line)s” is not a pattern, a space and an address.")
                % {"line": " ".join(wrong)[:80]}
            )
        return [(glob, email) for glob, email in lines]

    def save(self) -> bool:
        """Whether the name space was changed; if not, the reason is in the form."""
        data = self.cleaned_data
        try:
            change(
                self.space,
                names=data["names"],
                is_expression=data["kind"] == "expression",
                key_word=data["key_word"],
                per_day=data["per_day"],
                rules=data["rules"],
                note=data["note"],
            )
        except RuleError as error:
            self.add_error(None, str(error))
            return False
        return True
