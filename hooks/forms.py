"""The forms of a web hook."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.exceptions import RuleError
from core.forms import TextField
from core.outgoing import URL_MAX
from hooks.models import Hook, HookEvent

URL_HELP = _("Where the messages go, as https://example.com/hooks/anonmail. Only you can see it.")


class HookForm(forms.Form):
    """Where a hook leads, and what it is told of."""

    url = TextField(
        label=_("URL"),
        max_length=URL_MAX,
        help_text=URL_HELP,
        widget=forms.URLInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=HookEvent.choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one of the events.")},
    )

    def make(self, owner: User | None) -> tuple[Hook, str] | None:
        """The new hook and its secret; or None, with the reason in the form, if it is refused."""
        data: dict[str, Any] = self.cleaned_data
        try:
            return Hook.objects.make(owner=owner, url=data["url"], events=data["events"])
        except RuleError as error:
            self.add_error("url" if error.code == "hook_invalid" else None, str(error))
            return None

    def change(self, hook: Hook) -> bool:
        """Whether the hook was changed; if not, the reason is in the form."""
        try:
            hook.edit(url=self.cleaned_data["url"], events=self.cleaned_data["events"])
        except RuleError as error:
            self.add_error("url", str(error))
            return False
        return True
