"""What all dialects share: the caller, OPTIONS without a key, and how a view gets its path."""

from functools import cached_property
from typing import Any, ClassVar, NoReturn, cast

from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.models import User
from api.answers import Answer
from api.parsers import read_body
from api.query import read_query
from tokens.models import Token
from tokens.scopes import ANY_TOKEN, Scope

# What a view needs of a token: for each of its methods, or for all; None: no token.
Rights = Scope | dict[str, Scope] | None


class ApiView(APIView):
    """A view of the API: a token is needed for everything but OPTIONS.

    `scope` names the rights that the token must have: for all methods, or for each by its name. None is
    for views that need no token.
    """

    scope: ClassVar[Rights]
    url_name = ""
    # Whether its calls make aliases on the caller's best domain: it is then read with the token.
    chooses_domain: ClassVar[bool] = False
    # The methods there are, as the header of each answer names them.
    allow: ClassVar[str]

    @classmethod
    def needed_scope(cls, method: str) -> Scope:
        """The rights that a token needs for this method (`get`); HEAD is as GET."""
        if isinstance(cls.scope, dict):
            return cls.scope["get" if method == "head" else method]
        return ANY_TOKEN if cls.scope is None else cls.scope

    @property
    def shows_activity(self) -> bool:
        """Whether the caller's token may read what mail an alias had; if not, its figures are shown as 0."""
        return Scope.ACTIVITY in self.token.rights

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """REST framework's way of a request, without what is not here: there is nothing to negotiate, and
        there are neither parsers, versions nor throttles."""
        self.args, self.kwargs = args, kwargs
        self.request = own = Request(
            request, authenticators=self.get_authenticators(), parser_context={"view": self}
        )
        response: HttpResponseBase
        try:
            method = str(request.method)
            if method != "OPTIONS":
                # At once, where `user` would look first whether it is known.
                own._authenticate()  # type: ignore[attr-defined]
                self.check_permissions(own)
            name = method.lower() if method.lower() in self.http_method_names else ""
            handler = getattr(self, name, self.http_method_not_allowed)
            response = handler(own, *args, **kwargs)
        except Exception as error:
            response = self.handle_exception(error)
        response.headers._store["allow"] = ("Allow", self.allow)
        return response

    def raise_uncaught_exception(self, exc: Exception) -> NoReturn:
        # REST framework's own asks what was negotiated.
        raise exc

    def options(  # type: ignore[override]
        self, request: Request, *args: Any, **kwargs: Any
    ) -> Answer:
        """Which methods there are (in the header Allow), for a browser that asks before it calls."""
        return Answer(status=204)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The JSON object in the request's body; empty if there is none. Raises BadInput."""
        return read_body(self.request._request)

    @property
    def query(self) -> dict[str, str]:
        """The fields of the query string."""
        return read_query(self.request.META.get("QUERY_STRING", ""))

    @property
    def caller(self) -> User:
        """The owner of the token that came with the request."""
        return cast(User, self.request.user)

    @property
    def token(self) -> Token:
        """The token that came with the request."""
        return cast(Token, self.request.auth)


class SignInView(ApiView):
    """A call that needs no key, and ignores one."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    scope = None


def route(where: str, view: type[ApiView], name: str) -> URLPattern:
    """A path below `/api/`; its name is the schema's name for the call too."""
    view.allow = ", ".join(view().allowed_methods)
    return path(where, view.as_view(url_name=name), name=name)
