"""The form with which managers grant access."""

from datetime import timedelta

from django import forms
from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.exceptions import RateLimited
from core.ratelimit import Limit, count_or_refuse
from domains.models import AccessGrant, Domain

TOO_MANY_GRANTS = _("Too many grants for now. Try again in %(minutes)s minutes.")


class PersonForm(forms.Form):
    """Who gets something."""

    email = forms.CharField(
        label=_("E-mail address"),
        max_length=254,
        help_text=_("The one that the person signs in with."),
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    def person(self, by: User) -> User | None:
        """Whoever signs in with the address; or None, with the reason beside the field.

        The answer reveals whether the address has an account, so attempts are limited.
        """
        limit = Limit("grant-hour", settings.GRANTS_PER_HOUR, timedelta(hours=1), refusal=TOO_MANY_GRANTS)
        try:
            count_or_refuse((limit, by.pk))
        except RateLimited as error:
            self.add_error("email", str(error))
            return None
        user: User | None = User.objects.by_email(self.cleaned_data["email"])
        if user is None:
            self.add_error(
                "email",
                gettext(
                    "Nobody signs in with this address. Ask the person, or ask an admin to create the user."
                ),
            )
            return None
        return user


class GrantForm(PersonForm):
    """Who gets access to a domain."""

    def grant(self, domain: Domain, by: User) -> AccessGrant | None:
        """The grant; or None, with the reason beside the field, if it is refused."""
        user = self.person(by)
        return domain.grant(user, granted_by=by) if user else None
