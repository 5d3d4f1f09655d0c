"""What the page tests share."""

import html
import re
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.http import HttpResponseBase
from django.utils import timezone

from accounts.models import User
from aliases.models import Alias
from domains.models import Domain

HTMX = {"HX-Request": "true"}


def text_of(answer: HttpResponseBase) -> str:
    """The words of a page, without its tags."""
    page = answer.content.decode()  # type: ignore[attr-defined]
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())


def many_aliases(owner: User, domain: Domain, number: int) -> None:
    """Aliases by the thousand, as rows."""
    start = Alias.objects.count()
    Alias.objects.bulk_create(
        Alias(
            address=f"site{start + i}.word@{domain.name}",
            domain=domain,
            owner=owner,
            hostname=f"site{start + i}.test",
            note=f"Website: site{start + i}.test",
            active_at=timezone.now() - timedelta(minutes=i),
        )
        for i in range(number)
    )
    through = Alias.destinations.through
    primary = EmailAddress.objects.get(user=owner, primary=True)
    through.objects.bulk_create(
        through(alias_id=key, address=primary)
        for key in Alias.objects.filter(destination_links=None).values_list("pk", flat=True)
    )
