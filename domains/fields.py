"""A model field for domain names: any form in, A-labels stored."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.addresses import AddressError, domain_to_ascii


class DomainNameField(models.CharField[str, str]):
    """A domain name, taken in any case as U-labels or A-labels and stored as lower-case A-labels."""

    def to_python(self, value: Any) -> Any:
        value = super().to_python(value)
        if not value:
            return value
        try:
            return domain_to_ascii(value)
        except AddressError as error:
            raise ValidationError(
                _("“%(name)s” is not a valid domain name. Write it like example.com."),
                code="invalid",
                params={"name": value.strip()[:80]},
            ) from error
