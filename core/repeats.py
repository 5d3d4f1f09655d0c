"""Forms that a browser sends twice because its owner clicked twice, and no script prevents it."""

from hashlib import sha256

from django.core.cache import cache
from django.http import HttpRequest

# Between the two. Who sends the same form again later means it.
SECONDS = 60


def is_repeated(request: HttpRequest) -> bool:
    """Whether the user has just sent this form with the same content.

    Each page has a CSRF token that is masked anew, so the same words from another page are no repetition.
    """
    sent = f"{request.user.pk} {request.path} {request.POST.urlencode()}"
    return not cache.add(f"sent-{sha256(sent.encode()).hexdigest()}", True, SECONDS)
