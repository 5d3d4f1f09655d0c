"""Forms of the alias pages."""

from datetime import datetime, time
from typing import Any, NamedTuple

from allauth.account.models import EmailAddress
from django import forms
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from aliases.ending import set_expiry
from aliases.issuing import issue
from aliases.models import Admits, Alias, AliasExpiry, AliasPreferences, SenderFormat
from aliases.models.expiry import DAYS_MAX
from aliases.validation import NAME_MAX_CHARACTERS, NOTE_MAX_CHARACTERS, clean_name
from aliases.websites import parse_site
from core.converters import KEY_DIGITS_MAX
from core.exceptions import RuleError
from core.forms import TextField
from domains.models import AliasStyle, Domain

# Enough for a URL pasted from a browser's address bar.
SITE_MAX_CHARACTERS = 2000


class DestinationsField(forms.ModelMultipleChoiceField[EmailAddress]):
    """A choice of a user's verified addresses."""

    widget = forms.CheckboxSelectMultiple

    def label_from_instance(self, obj: Any) -> str:
        return str(obj.email)

    def clean(self, value: Any) -> Any:
        """The addresses. A key that is too long for the database is an invalid choice."""
        keys = value if isinstance(value, list | tuple) else []
        if any(len(str(key)) > KEY_DIGITS_MAX for key in keys):
            raise forms.ValidationError(
                self.error_messages["invalid_choice"], code="invalid_choice", params={"value": "…"}
            )
        return super().clean(value)


def own_addresses(user: User) -> Any:
    """The user's verified addresses, the primary one first."""
    return EmailAddress.objects.filter(user=user, verified=True).order_by("-primary", "email")


class SiteField(TextField):
    """A web site, in any form that has a host."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.TextInput(
            attrs={"autocomplete": "off", "inputmode": "url", "placeholder": "www.github.com"}
        )
        super().__init__(
            label=_("Website"), required=False, max_length=SITE_MAX_CHARACTERS, widget=widget, **kwargs
        )

    def clean(self, value: Any) -> Any:
        """The text as it was written. Raises ValidationError if it names no host."""
        text = super().clean(value)
        if text.strip() and not parse_site(text).host:
            raise forms.ValidationError(
                gettext(
                    "Write the website as www.github.com, or paste a page's URL. Other words go in the note."
                )
            )
        return text


class NewAliasForm(forms.Form):
    """Creates an alias."""

    domain = forms.ModelChoiceField(Domain.objects.none(), label=_("Domain"), empty_label=None)
    hostname = SiteField(
        help_text=_("The address begins with its name. You can paste a page's URL; only the host is kept.")
    )
    note = TextField(
        label=_("Note"),
        required=False,
        max_length=NOTE_MAX_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    destinations = DestinationsField(
        EmailAddress.objects.none(),
        label=_("Forward to"),
        required=False,
        help_text=_("If you select none, your primary address is used."),
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        fields: Any = self.fields
        fields["domain"].queryset = Domain.objects.usable_by(user)
        fields["destinations"].queryset = own_addresses(user)

    def issue(self) -> Alias | None:
        """The new alias, or None with the reason in the form's errors if it was refused."""
        data = self.cleaned_data
        try:
            return issue(
                owner=self.user,
                domain=data["domain"].name,
                hostname=data["hostname"],
                note=data["note"] or None,
                destinations=[address.email for address in data["destinations"]] or None,
            )
        except RuleError as error:
            self.add_error(None, str(error))
            return None


class Part(NamedTuple):
    """Some fields of a form, under a title that opens and closes."""

    title: str
    fields: list[forms.BoundField]
    is_open: bool


class AliasForm(forms.Form):
    """Changes an alias."""

    PARTS = (
        (_("Note and website"), ("note", "hostname", "pinned")),
        (_("Destinations"), ("destinations", "encrypts")),
        (_("Replies"), ("hides_replies", "name", "admits")),
        (_("Expiry"), ("expires_on", "idle_days", "unused_days")),
    )

    note = TextField(
        label=_("Note"),
        required=False,
        max_length=NOTE_MAX_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    hostname = SiteField(help_text=_("Only the host is kept."))
    name = TextField(
        label=_("Display name"),
        required=False,
        max_length=NAME_MAX_CHARACTERS,
        help_text=_("The name that recipients of your replies see."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    destinations = DestinationsField(EmailAddress.objects.none(), label=_("Forward to"))
    encrypts = forms.BooleanField(
        label=_("Encrypt mail to destinations that have an OpenPGP key"),
        required=False,
        help_text=_("You give a destination its key on the page Addresses."),
    )
    pinned = forms.BooleanField(label=_("Keep at the top of the list"), required=False)
    hides_replies = forms.TypedChoiceField(
        label=_("When you answer mail that came to this alias"),
        choices=((True, _("Replies hide me")), (False, _("As it came"))),
        coerce=lambda value: value == "True",
        required=False,
        empty_value=None,
        widget=forms.RadioSelect,
        help_text=_(
            "“Replies hide me”: mail is forwarded with reverse addresses in place of the correspondents' "
            "own, and they get your reply from the alias. “As it came”: mail is forwarded unchanged, and a "
            "reply shows your own address, unless you send it to the reverse address on the page of "
            "correspondents."
        ),
    )
    admits = forms.ChoiceField(
        label=_("Takes mail"),
        choices=Admits,
        required=False,
        widget=forms.RadioSelect,
        help_text=_(
            "You know whoever you have written to, and whom you have let in on the page of correspondents. "
            "The alias's own website may always write."
        ),
    )
    expires_on = forms.DateField(
        label=_("Expires on"),
        required=False,
        help_text=_(
            "From this date, mail to it is refused. We warn you a week before, and you can enable it again."
        ),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    idle_days = forms.IntegerField(
        label=_("Expires after this many days without mail"), required=False, min_value=1, max_value=DAYS_MAX
    )
    unused_days = forms.IntegerField(
        label=_("Expires if no mail arrives within this many days of its creation"),
        required=False,
        min_value=1,
        max_value=DAYS_MAX,
    )

    def __init__(self, *args: Any, alias: Alias, user: User, **kwargs: Any) -> None:
        expiry = AliasExpiry.objects.filter(alias=alias).first() or AliasExpiry(alias=alias)
        kwargs.setdefault(
            "initial",
            {
                "expires_on": timezone.localdate(expiry.expires_at) if expiry.expires_at else None,
                "idle_days": expiry.idle_days,
                "unused_days": expiry.unused_days,
                "note": alias.note,
                "hostname": alias.hostname,
                "name": alias.name,
                "pinned": alias.pinned,
                "hides_replies": alias.hides_replies,
                "encrypts": not alias.skips_encryption,
                "admits": alias.admits,
                "destinations": [address.pk for address in alias.destination_addresses],
            },
        )
        super().__init__(*args, **kwargs)
        self.alias = alias
        fields: Any = self.fields
        fields["destinations"].queryset = own_addresses(user)

    @property
    def parts(self) -> list[Part]:
        """All fields. Open are the first part, that of the destinations if there is a choice, and each with
        something wrong."""
        fields: Any = self.fields
        is_open = {"note"} | ({"destinations"} if len(fields["destinations"].choices) > 1 else set())
        return [
            Part(
                str(title),
                [self[name] for name in names],
                not (is_open | self.errors.keys()).isdisjoint(names),
            )
            for title, names in self.PARTS
        ]

    def apply(self) -> bool:
        """Change the alias. False, with the reason in the form's errors, if it was refused."""
        data = self.cleaned_data
        try:
            with transaction.atomic():
                self.alias.change(
                    note=data["note"],
                    hostname=data["hostname"],
                    name=data["name"],
                    pinned=data["pinned"],
                    hides_replies=data["hides_replies"],
                    skips_encryption=not data["encrypts"] if "encrypts" in self.changed_data else None,
                    admits=data["admits"] or None,
                    destinations=(
                        [address.email for address in data["destinations"]]
                        if "destinations" in self.changed_data
                        else None
                    ),
                )
                if {"expires_on", "idle_days", "unused_days"} & set(self.changed_data):
                    self._set_expiry()
        except RuleError as error:
            self.add_error(None, str(error))
            return False
        return True

    def _set_expiry(self) -> None:
        data = self.cleaned_data
        day = data["expires_on"]
        midnight = timezone.make_aware(datetime.combine(day, time())) if day else None
        set_expiry(
            self.alias, expires_at=midnight, idle_days=data["idle_days"], unused_days=data["unused_days"]
        )


class ReplyPreferencesForm(forms.ModelForm[AliasPreferences]):
    """How a user's answers go out, and how correspondents are shown."""

    reply_name = TextField(
        label=_("Name in replies"),
        required=False,
        max_length=NAME_MAX_CHARACTERS,
        help_text=_(
            "Recipients see it if the alias has no display name of its own. Whoever knows several of your "
            "aliases can tell by it that they belong together. Empty: they see the address alone."
        ),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    class Meta:
        model = AliasPreferences
        fields = (
            "hides_replies",
            "sender_format",
            "reply_name",
            "replies_to_others",
            "strict_replies",
            "cleans_text",
            "allows_revealing",
        )
        widgets = {"sender_format": forms.RadioSelect}  # noqa: RUF012
        labels = {  # noqa: RUF012
            "hides_replies": _("Replies from new aliases hide me"),
            "sender_format": _("Correspondents are shown as"),
            "replies_to_others": _("A reply may also go to people who are no correspondents of the alias"),
            "strict_replies": _("Only an alias's own destinations may reply from it"),
            "cleans_text": _("Replace my own address in the text of replies"),
            "allows_revealing": _("Send also what shows my own address"),
        }
        help_texts = {  # noqa: RUF012
            "hides_replies": _(
                "Off: new aliases forward mail as it came. Each alias's own setting is on its page."
            ),
            "replies_to_others": _(
                "Off: a reply with any other address in To or Cc is refused, so that nobody sees more than "
                "you meant. On: others get it from the alias too."
            ),
            "strict_replies": _("Off: any of your verified addresses may."),
            "cleans_text": _(
                "Exactly your own address, and reverse addresses, are replaced in plain text and HTML that "
                "are neither signed nor encrypted. Nothing else is changed."
            ),
            "allows_revealing": _(
                "Off: a calendar answer, a read receipt, and a signature or key that names your own address "
                "are refused with the reason."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: Any = self.fields
        fields["sender_format"].choices = SenderFormat.choices

    def clean_reply_name(self) -> str:
        try:
            return clean_name(self.cleaned_data["reply_name"])
        except RuleError as error:
            raise forms.ValidationError(str(error)) from error


class PreferencesForm(forms.ModelForm[AliasPreferences]):
    """A user's preferences for new aliases."""

    class Meta:
        model = AliasPreferences
        fields = ("default_domain", "style", "idle_days", "unused_days", "tells_of_new_senders")
        widgets = {"style": forms.RadioSelect}  # noqa: RUF012
        labels = {  # noqa: RUF012
            "idle_days": _("New aliases expire after this many days without mail"),
            "unused_days": _("New aliases created by an app expire if no mail arrives within this many days"),
            "tells_of_new_senders": _("A daily e-mail about new senders to my aliases"),
        }
        help_texts = {  # noqa: RUF012
            "idle_days": _("Leave empty for never. Applies to aliases that you create from now on."),
            "unused_days": _(
                "Leave empty for never. Some password managers create an alias whenever you open "
                "their generator."
            ),
            "tells_of_new_senders": _(
                "When somebody other than its website writes to an alias for the first time. The list marks "
                "such aliases in any case."
            ),
        }

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: Any = self.fields
        fields["default_domain"].queryset = Domain.objects.usable_by(user)
        fields["default_domain"].empty_label = _("The domain of your own address, or else the first by name")
        fields["style"].choices = AliasStyle.choices
