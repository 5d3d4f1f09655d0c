"""The OpenAPI schema: each method of a view is described by the `Call` that decorates it.

Answers are type hints, bodies are serializers; their JSON schemas and examples are made from them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import resolve_type_hint
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiRequest, OpenApiResponse
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from api.inputs import Input
from tokens.scopes import Scope

Schema = dict[str, Any]
Method = TypeVar("Method", bound=Callable[..., Any])

# Examples of objects, by their TypedDict: each dialect adds what its builders return for a sample.
EXAMPLES: dict[Any, Callable[[], Any]] = {}


def schema_of(hint: Any) -> Schema:
    """The JSON schema of a type hint, of a dict of hints by key, or of a JSON schema: itself."""
    if isinstance(hint, dict):
        if "type" in hint:
            return hint
        return _closed({"type": "object", "properties": {key: schema_of(of) for key, of in hint.items()}})
    schema: Schema = resolve_type_hint(hint)  # type: ignore[no-untyped-call]
    return _closed(schema)


def _closed(schema: Schema) -> Schema:
    """The same, in which no object has any other keys."""
    schema.pop("description", None)
    if properties := schema.get("properties"):
        required = schema.get("required") or properties
        schema["required"] = [name for name in properties if name in required]
        schema["additionalProperties"] = False
    inner = [*schema.get("properties", {}).values(), *schema.get("oneOf", ())]
    for part in (*inner, *([schema["items"]] if "items" in schema else ())):
        _closed(part)
    return schema


def example_of(hint: Any) -> Any:
    """An example of what `schema_of` describes: from EXAMPLES, or made of the parts' examples."""
    if is_typeddict(hint):
        return EXAMPLES[hint]() if hint in EXAMPLES else example_of(get_type_hints(hint))
    if isinstance(hint, dict):
        return {key: example_of(of) for key, of in hint.items()}
    kinds: tuple[Any, ...] = get_args(hint)
    origin = get_origin(hint)
    if origin is list:
        return [example_of(kinds[0])]
    if origin is Literal:
        return kinds[0]
    if origin is UnionType:
        return None if NoneType in kinds else example_of(kinds[0])
    return {bool: True, int: 1, str: "…"}[hint]


def query(name: str, description: str, *, required: bool = False, schema: Any = str) -> OpenApiParameter:
    """A parameter in the query string."""
    return OpenApiParameter(name, schema, OpenApiParameter.QUERY, required=required, description=description)


SENTENCES = {
    400: "The request has a value that is not valid.",
    401: "Wrong or missing API key.",
    403: (
        "This token lacks the right “Manage”. Make a token that has it on the page Authentication tokens: "
        f"{settings.SITE_URL}/tokens/new/"
    ),
    404: "There is no such alias.",
    409: "This address is taken. Choose another name.",
    412: "Alias creation time is expired, please retry",
    413: "The request is too large. Its body may have at most 256 KiB.",
    422: "Account not activated: open the link in the mail first.",
    429: "Too many requests. Try again later.",
    440: "Need sudo: a token cannot create another one. Create it on the web page instead.",
    503: "The service is not available for a moment. Try again shortly.",
}
# Any call may answer these: no valid body, no valid key, too large, too often, no database.
ALWAYS = (400, 401, 413, 429, 503)


def refusal(status: int) -> OpenApiResponse:
    """An error of SimpleLogin's shape, with an example."""
    return shown_refusal(status, {"error": str}, {"error": SENTENCES[status]})


def shown_refusal(status: int, hint: Any, value: Any) -> OpenApiResponse:
    """An error of this shape, with this example."""
    example = OpenApiExample(f"{status}", value=value, response_only=True, status_codes=[str(status)])
    return OpenApiResponse(schema_of(hint), SENTENCES[status], [example])


@dataclass(frozen=True)
class Call:
    """One method of a view: what it does, takes and answers. Decorates the method."""

    summary: str
    answer: Any = None  # a type hint; None: it is always refused, or answered 204
    status: int = 200
    also: Sequence[int] = ()  # other statuses with the same answer
    takes: type[Input] | None = None
    parameters: Sequence[Any] = ()  # OpenApiParameters, or an Input for the query string
    refuses: Sequence[int] = ()
    example: Any = None  # or a function that returns it; None: `example_of` the answer
    media_type: str = "application/json"
    refusal: Callable[[int], OpenApiResponse] = refusal
    needs_key: bool = True
    dialect: str = "SimpleLogin"

    def __call__(self, method: Method) -> Method:
        _CALL_OF_METHOD[method] = self
        return method


_CALL_OF_METHOD: dict[Callable[..., Any], Call] = {}


def is_described(view: type, method: str) -> bool:
    """Whether the schema describes this method."""
    return getattr(view, method.lower()) in _CALL_OF_METHOD


class ApiSchema(AutoSchema):
    """Describes each method by its Call; one without is an error."""

    @property
    def call(self) -> Call:
        """The call that is being described."""
        return _CALL_OF_METHOD[getattr(type(self.view), self.method.lower())]

    def get_summary(self) -> str:
        return self.call.summary

    @property
    def needed(self) -> Scope:
        """The rights that the call needs of its token."""
        view: Any = self.view
        return Scope(view.needed_scope(self.method.lower()))

    def get_description(self) -> str:  # type: ignore[override]
        if not self.call.needs_key:
            return "Needs no token."
        if not self.needed:
            return "Any token may call this."
        return f"Needs a token with the right `{'`, `'.join(self.needed.words)}`."

    def get_tags(self) -> list[str]:
        return [self.call.dialect]

    def get_operation_id(self) -> str:
        view: Any = self.view
        name = view.url_name.removeprefix("api-").replace("-", "_")
        return f"{name}_{self.method.lower()}"

    def get_override_parameters(self) -> Any:
        keys = [
            OpenApiParameter("key", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH, required=True)
            for part in self.path.split("/")
            if part == "{key}"
        ]
        if "{uuid}" in self.path:
            shape = {"type": "string", "format": "uuid"}
            keys.append(OpenApiParameter("uuid", shape, OpenApiParameter.PATH, required=True))
        return [*keys, *self.call.parameters]

    def get_request_serializer(self) -> Any:
        takes = self.call.takes
        if takes is None:
            return None
        schema = self._map_serializer(takes.instance(), "request")  # type: ignore[no-untyped-call]
        schema.pop("description", None)
        example = OpenApiExample("request", value=takes.example(), request_only=True)
        return {"application/json": OpenApiRequest(schema, examples=[example])}

    def get_response_serializers(self) -> Any:
        call = self.call
        answers: dict[Any, Any] = {}
        if call.answer is not None:
            example = call.example() if callable(call.example) else call.example
            example = example_of(call.answer) if example is None else example
            # As JSON has it: an id is a text there.
            plain = json.loads(json.dumps(example, cls=JSONEncoder))
            shown = OpenApiExample("answer", value=plain, response_only=True)
            for status in (call.status, *call.also):
                answers[status, call.media_type] = OpenApiResponse(
                    schema_of(call.answer), call.summary, [shown]
                )
        elif call.status == 204:
            answers[204] = OpenApiResponse(description=call.summary)
        has_id = "{key}" in self.path or "{uuid}" in self.path
        statuses = {*ALWAYS, *call.refuses, *((404,) if has_id else ()), *((403,) if self.needed else ())}
        if not call.needs_key and 401 not in call.refuses:
            statuses.discard(401)
        for status in sorted(statuses):
            answers[status, "application/json"] = call.refusal(status)
        return answers


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How a key is sent."""

    target_class = "tokens.authentication.TokenAuthentication"
    name: str | list[str] = ["apiKey", "bearer"]  # noqa: RUF012 - the package's own

    def get_security_definition(self, auto_schema: AutoSchema) -> list[Schema]:
        own = {
            "type": "apiKey",
            "in": "header",
            "name": "Authentication",
            "description": "`<e-mail>:<token>`, or the token alone: the page Authentication tokens shows it.",
        }
        return [own, {"type": "http", "scheme": "bearer", "description": "The same as a Bearer token."}]


def plain_paths(endpoints: Sequence[Any], **kwargs: Any) -> list[Any]:
    """The API's calls, their paths without the optional slash at the end."""
    found = []
    for path, regex, method, callback in endpoints:
        view = getattr(callback, "cls", None)
        if view is not None and issubclass(view, APIView) and path.startswith("/api/"):
            if path.startswith(("/api/schema", "/api/docs")):
                continue
            found.append((path.rstrip("?").rstrip("/"), regex, method, callback))
    return found
