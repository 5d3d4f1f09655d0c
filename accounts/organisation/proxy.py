"""People whom a trusted proxy has signed in and names in headers.

TrustedProxyMiddleware drops these headers from everybody who is not among TRUSTED_PROXIES.
"""

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext

from accounts.models import Identity, User
from accounts.organisation.person import Person, as_list, as_name, as_subject
from accounts.organisation.refusals import NotProven
from accounts.organisation.signing_in import METHOD
from accounts.organisation.sources import TrustedProxy

GROUPS_MAX_CHARACTERS = 64 * 1024


def person_named(request: HttpRequest) -> Person | None:
    """Whom the proxy names, or None. Raises NotProven if what it writes names nobody for certain."""
    proxy: TrustedProxy | None = settings.TRUSTED_PROXY
    if proxy is None or not (user := _header(request, proxy.user_header)):
        return None
    subject = as_subject(user)
    # Two headers of the same name arrive as one with a comma: the client may have sent the other.
    if not subject or "," in subject:
        raise NotProven(gettext("The server in front of this one did not say clearly who you are."))
    groups = _header(request, proxy.groups_header)[:GROUPS_MAX_CHARACTERS].replace(";", ",").split(",")
    return Person(
        source=proxy,
        subject=subject,
        email=_header(request, proxy.email_header),
        is_verified=proxy.trusts_addresses,
        name=as_name(_header(request, proxy.name_header)),
        groups=as_list([group.strip() for group in groups]),
    )


def _header(request: HttpRequest, name: str) -> str:
    """The header's text, which proxies write in UTF-8 and WSGI reads as Latin-1; "" if it is neither."""
    text = request.headers.get(name, "") if name else ""
    try:
        return text.encode("latin-1").decode().strip()
    except UnicodeError:
        return ""


def names_no_more(request: HttpRequest) -> bool:
    """Whether the proxy signed the reader in, and now names nobody, or somebody else."""
    proxy = settings.TRUSTED_PROXY
    if proxy is None or not isinstance(user := request.user, User):
        return False
    records = get_authentication_records(request, user)
    came = [record for record in records if record["method"] == METHOD]
    if not came or came[-1].get("source") != proxy.key:
        return False
    try:
        person = person_named(request)
    except NotProven:
        return True
    if person is None:
        return True
    named = Identity.objects.named(person.source.issuer, person.subject)
    return not named.filter(user=user).exists()
