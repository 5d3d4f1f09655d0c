"""The forms of a rule, and of a message on which rules are tried out."""

from collections.abc import Iterator
from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.forms import DestinationsField, own_addresses
from aliases.models import Alias
from core.addresses import AddressError, parse_without_tag
from core.exceptions import RuleError
from core.forms import TextField
from mail.delivery.message import header_fields
from mail.rule_pages.trying import alias_named
from rules.conditions import (
    CONDITIONS_MAX,
    HEADER_NAME_MAX,
    VALUE_MAX,
    VALUES_MAX,
    Match,
    Of,
    clean_condition,
)
from rules.exceptions import InvalidRule
from rules.keeping import RuleContent, change_rule, make_rule
from rules.models import NAME_MAX, OWN_SUBJECT, SUBJECT_MAX, Rule

# Characters of a pasted header.
HEADER_MAX = 100_000
_PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class ConditionForm(forms.Form):
    """One condition; without a value it is none."""

    of = forms.ChoiceField(label=_("What"), choices=Of.choices)
    header = TextField(
        label=_("Name of the header field"),
        required=False,
        max_length=HEADER_NAME_MAX,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "List-Id"}),
    )
    match = forms.ChoiceField(label=_("How"), choices=Match.choices, initial=Match.CONTAINS)
    values = TextField(
        label=_("Values, one on each line"),
        required=False,
        max_length=(VALUE_MAX + 1) * VALUES_MAX,
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 2}),
    )

    @property
    def is_filled(self) -> bool:
        return bool((self["values"].value() or "").strip()) or bool(self.errors)


class RuleForm(forms.Form):
    """A rule as its owner writes it, with the forms of its conditions."""

    name = TextField(label=_("Name"), max_length=NAME_MAX, widget=forms.TextInput(attrs=_PLAIN))
    needs_all = forms.TypedChoiceField(
        label=_("The rule applies if"),
        choices=[("all", _("all conditions are true")), ("any", _("at least one condition is true"))],
        coerce=lambda value: value == "all",
        widget=forms.RadioSelect,
        initial="all",
    )
    blocks = forms.BooleanField(
        label=_("Block the message"),
        required=False,
        help_text=_("The sender is told that there is no such user."),
    )
    destinations = DestinationsField(
        EmailAddress.objects.none(),
        label=_("Forward it to these addresses, and not to those of the alias"),
        required=False,
    )
    subject = TextField(
        label=_("Give it this subject"),
        required=False,
        max_length=SUBJECT_MAX,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": f"[Shop] {OWN_SUBJECT}"}),
        help_text=_(
            "{{subject}} stands for its own subject; without it, your words are put in front of that. "
            "The message then goes on with a reverse address, as its author’s signature is void."
        ),
    )
    disables = forms.BooleanField(
        label=_("Disable the alias"),
        required=False,
        help_text=_("From the next message on. This one is still forwarded, unless it is blocked."),
    )
    stops = forms.BooleanField(label=_("Look at no further rules after this one"), required=False)

    def __init__(self, data: QueryDict | None, *, user: User, rule: Rule | None = None) -> None:
        self.user, self.rule = user, rule
        super().__init__(data, initial=_initial(rule) if rule else None)
        own: Any = self.fields["destinations"]
        own.queryset = own_addresses(user)
        kept = rule.condition_list if rule else []
        self.conditions = []
        for number in range(CONDITIONS_MAX):
            initial = {}
            if number < len(kept):
                one = kept[number]
                initial = {
                    "of": one.of,
                    "match": one.match,
                    "header": one.header,
                    "values": "\n".join(one.values),
                }
            self.conditions.append(ConditionForm(data, prefix=f"condition{number + 1}", initial=initial))

    def is_valid(self) -> bool:
        are_valid = [form.is_valid() for form in self.conditions]
        return super().is_valid() and all(are_valid)

    def clean_subject(self) -> str:
        subject: str = self.cleaned_data["subject"].strip()
        if subject and "subject" in self.changed_data and OWN_SUBJECT not in subject:
            return f"{subject} {OWN_SUBJECT}"
        return subject

    @property
    def shown_conditions(self) -> list[ConditionForm]:
        """Those that are filled, or the first one."""
        return [form for form in self.conditions if form.is_filled] or self.conditions[:1]

    @property
    def other_conditions(self) -> list[ConditionForm]:
        shown = self.shown_conditions
        return [form for form in self.conditions if form not in shown]

    @property
    def actions(self) -> list[forms.BoundField]:
        return [self[name] for name in ("blocks", "destinations", "subject", "disables", "stops")]

    def save(self) -> Rule | None:
        """The rule; None, with the reason in the form, if it is refused."""
        data: dict[str, Any] = self.cleaned_data
        try:
            content = RuleContent(
                name=data["name"],
                conditions=list(self._written()),
                needs_all=data["needs_all"],
                blocks=data["blocks"],
                disables=data["disables"],
                destinations=list(data["destinations"]),
                subject=data["subject"],
                stops=data["stops"],
            )
            if self.rule is None:
                return make_rule(self.user, content)
            change_rule(self.rule, content)
        except InvalidRule as error:
            self._refuse(error)
            return None
        except RuleError as error:
            self.add_error(None, str(error))
            return None
        return self.rule

    def _written(self) -> Iterator[Any]:
        for number, form in enumerate(self.conditions):
            data = form.cleaned_data
            if data["values"].strip():
                yield clean_condition(
                    data["of"],
                    data["match"],
                    data["values"].split("\n"),
                    data["header"].strip().removesuffix(":"),
                    f"conditions.{number}",
                )

    def _refuse(self, error: InvalidRule) -> None:
        part, _dot, number = error.part.partition(".")
        if number:
            self.conditions[int(number)].add_error(
                "header" if error.is_about_header else "values", str(error)
            )
        else:
            self.add_error(part if part in self.fields else None, str(error))


def _initial(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "needs_all": "all" if rule.needs_all else "any",
        "blocks": rule.blocks,
        "disables": rule.disables,
        "destinations": [address.pk for address in rule.destinations],
        "subject": rule.subject,
        "stops": rule.stops,
    }


class TryForm(forms.Form):
    """The header of a message, and the alias to which it went."""

    header = TextField(
        label=_("Header of a message"),
        max_length=HEADER_MAX,
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 12}),
        help_text=_(
            "In your mail program, choose “Show source” or “Show original”, and copy the lines as far as "
            "the first empty one. Nothing of it is kept."
        ),
    )
    alias = TextField(
        label=_("Alias"),
        required=False,
        max_length=320,
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "email"}),
        help_text=_("Not needed if Anonmail has forwarded the message: its header names the alias."),
    )

    def __init__(self, data: QueryDict | None, *, user: User) -> None:
        self.user = user
        super().__init__(data)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = self.cleaned_data
        if self.errors:
            return data
        # A body is not wanted, and not read.
        data["fields"] = list(header_fields(data["header"].lstrip().encode("utf-8", "replace")))
        if not data["fields"]:
            self.add_error(
                "header", gettext("This is no header. A header begins with a field, as in Subject: Hello.")
            )
            return data
        try:
            address = parse_without_tag(data["alias"] or alias_named(data["fields"]))
            found = Alias.objects.owned_by(self.user).present().filter(address=str(address)).first()
        except AddressError:
            found = None
        if found is None:
            self.add_error("alias", gettext("Write the address of one of your aliases."))
        data["found_alias"] = found
        return data
