"""Forms that a browser sends twice: its owner clicked twice, and no script prevents it, or loaded the answer
anew."""

from hashlib import sha256

from django.core.cache import cache
from django.http import HttpRequest

# Between the two. Who sends the same form again later means it.
SECONDS = 60


def is_repeated(request: HttpRequest, seconds: int = SECONDS) -> bool:
    """Whether the user has sent this form with the same content within so many seconds.

    Each page has a CSRF token that is masked anew, so the same words from another page are no repetition.
    """
    return not cache.add(_key(request), True, seconds)


def forget(request: HttpRequest) -> None:
    """Let the user send the form again, as it changed nothing: reloading a page of an error does."""
    cache.delete(_key(request))


def _key(request: HttpRequest) -> str:
    sent = f"{request.user.pk} {request.path} {request.POST.urlencode()}"
    return f"sent-{sha256(sent.encode()).hexdigest()}"
