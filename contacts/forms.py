"""Forms of the pages about correspondents."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from aliases.models import Alias
from aliases.models.alias_queryset import SEARCH_MAX_CHARACTERS
from aliases.validation import NAME_MAX_CHARACTERS
from contacts.book import MAILBOX_MAX_CHARACTERS, add_contact
from contacts.models import Contact
from core.exceptions import RuleError
from core.forms import TextField


class NewContactForm(forms.Form):
    """Adds somebody to whom the owner wants to write."""

    contact = TextField(
        label=_("Write to somebody"),
        max_length=MAILBOX_MAX_CHARACTERS,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "none",
                "inputmode": "email",
                "placeholder": "jane@example.com",
            }
        ),
    )

    def add(self, alias: Alias) -> Contact | None:
        """The contact, or None with the reason in the form's errors if it was refused."""
        try:
            return add_contact(alias, self.cleaned_data["contact"])[0]
        except RuleError as error:
            self.add_error("contact", str(error))
            return None


class NameForm(forms.Form):
    """Changes the name of a contact."""

    name = TextField(
        label=_("Name"),
        required=False,
        max_length=NAME_MAX_CHARACTERS,
        help_text=_("Leave it empty to show the name that the correspondent's own mail has."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: Any, *, contact: Contact) -> None:
        super().__init__(data, initial={"name": contact.name})
        self.contact = contact

    def apply(self) -> bool:
        """Rename the contact. False, with the reason in the form's errors, if it was refused."""
        if "name" not in self.changed_data:
            return True
        try:
            self.contact.rename(self.cleaned_data["name"])
        except RuleError as error:
            self.add_error("name", str(error))
            return False
        return True


class SearchForm(forms.Form):
    """Filters of the list. An invalid value counts as none."""

    q = forms.CharField(
        label=_("Search"),
        required=False,
        max_length=SEARCH_MAX_CHARACTERS,
        widget=forms.SearchInput(attrs={"autocomplete": "off", "placeholder": _("Address or name")}),
    )
