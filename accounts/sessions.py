"""A user's sessions, whose rows hold the IP address of each sign-in."""

from allauth.account.internal.flows.login import _AUTHENTICATION_METHODS_USER_SESSION_KEY as METHODS_USER
from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.usersessions.models import UserSession
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.http import int_to_base36


def end_sessions(user_id: int) -> None:
    """Delete every session of the user, including those that wait for a second factor or a new password."""
    owned = UserSession.objects.filter(user=user_id)
    keys = [*owned.values_list("session_key", flat=True), *_unfinished(user_id)]
    Session.objects.filter(session_key__in=keys).delete()
    owned.delete()


def _unfinished(user_id: int) -> list[str]:
    """The sessions in which this user has begun to sign in."""
    is_owned = UserSession.objects.filter(session_key=OuterRef("session_key"))
    others = Session.objects.filter(~Exists(is_owned), expire_date__gt=timezone.now())
    return [session.session_key for session in others.iterator() if _names(session.get_decoded(), user_id)]


def _names(data: dict[str, object], user_id: int) -> bool:
    """Whether a session's data names the user: signed in, or in allauth's state of a sign-in."""
    login = data.get(LOGIN_SESSION_KEY)
    pending = login.get("user_pk") if isinstance(login, dict) else None
    return (
        str(user_id) in {data.get(SESSION_KEY), data.get(METHODS_USER)} or int_to_base36(user_id) == pending
    )


def prune_sessions() -> int:
    """Delete the records of sign-ins whose session has ended, and return their number."""
    is_live = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=timezone.now())
    deleted: int = UserSession.objects.filter(~Exists(is_live)).delete()[0]
    return deleted
