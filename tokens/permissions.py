"""Whether a token may make a call: the only place where the API checks its rights."""

from typing import Any

from django.utils.translation import gettext
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core.exceptions import RuleError
from core.mails import absolute_url
from tokens.models import Token
from tokens.scopes import LABELS, Scope


class ScopeMissing(RuleError, code="scope_missing", status=403):
    """The token is valid but lacks a right: 403, because clients discard a key at 401."""

    def __init__(self, missing: Scope) -> None:
        super().__init__(
            gettext(
                "This token lacks the right “%(right)s”. Make a token that has it on the page "
                "Authentication tokens: %(url)s"
            )
            % {
                "right": "”, “".join(str(LABELS[scope]) for scope in missing),
                "url": absolute_url("token-new"),
            }
        )


class HoldsScope(BasePermission):
    """Allows requests whose token has the rights that the view needs for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """False without a token (it becomes a 401). Raises ScopeMissing."""
        token = request.auth
        if not isinstance(token, Token):
            return False
        method = str(request.method).lower()
        # A method without a handler is a 405, whatever the token.
        has_handler = method in view.http_method_names and hasattr(view, method)
        if has_handler and not token.has(needed := view.needed_scope(method)):
            raise ScopeMissing(needed & ~token.rights)
        return True
