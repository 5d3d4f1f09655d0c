"""The forms for a destination's OpenPGP key."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from core.forms import TextField
from mail.encryption.certificates import KEY_MAX
from mail.models import DestinationKey


class KeyInput(forms.Textarea):
    """It stays empty in an answer: what was given by mistake may be a secret key, which no page shows."""

    def format_value(self, value: Any) -> str:
        return ""


class KeyForm(forms.Form):
    """A public key, as a text or as a file."""

    text = TextField(
        label=_("Your public key"),
        required=False,
        strip=True,
        help_text=_("It begins with “-----BEGIN PGP PUBLIC KEY BLOCK-----”."),
        widget=KeyInput(attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off"}),
    )
    file = forms.FileField(label=_("Or a file"), required=False, allow_empty_file=True)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if bool(data.get("text")) == bool(data.get("file")):
            raise forms.ValidationError(_("Paste your key, or choose a file."), code="one_key")
        return data

    @property
    def given(self) -> bytes:
        """The key's octets; one more than allowed of a file that is too large."""
        file = self.cleaned_data["file"]
        octets: bytes = file.read(KEY_MAX + 1) if file else self.cleaned_data["text"].encode()
        return octets


class KeyUseForm(forms.Form):
    """How a key is used."""

    is_used = forms.BooleanField(label=_("Encrypt mail to this address"), required=False)
    hides_subject = forms.BooleanField(
        label=_("Hide the subject"),
        required=False,
        help_text=_(
            "The subject is encrypted too. Mail programs that support it (Thunderbird, for instance) show it "
            "once they have decrypted the message; others show “[...]”."
        ),
    )
    otherwise = forms.ChoiceField(
        label=_("If the key cannot be used, because it has expired, for instance"),
        choices=(
            (DestinationKey.Otherwise.HOLD, _("Hold mail back: after some days, its sender gets it back")),
            (DestinationKey.Otherwise.CLEAR, _("Send mail without encryption")),
        ),
        widget=forms.RadioSelect,
    )

    @classmethod
    def of(cls, key: DestinationKey, data: Any = None) -> "KeyUseForm":
        names = ("is_used", "hides_subject", "otherwise")
        return cls(data, initial={name: getattr(key, name) for name in names})
