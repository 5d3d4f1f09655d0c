"""What all dialects share: the caller, and OPTIONS without a key."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User


class ApiView(APIView):
    """A view of the API: a token is needed for everything but OPTIONS."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method != "OPTIONS":
            super().initial(request, *args, **kwargs)

    def options(  # type: ignore[override]
        self, request: Request, *args: Any, **kwargs: Any
    ) -> Response:
        """Which methods there are (in the header Allow), for a browser that asks before it calls."""
        return Response(status=204)

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON object in the request's body; empty where there is none."""
        data = self.request.data
        return data if isinstance(data, dict) else {}

    @property
    def caller(self) -> User:
        """The owner of the token that came with the request."""
        user = self.request.user
        if not isinstance(user, User):
            raise TypeError("the permission lets only users pass")
        return user
