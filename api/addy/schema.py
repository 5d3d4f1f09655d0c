"""How addy.io's calls are described in the schema."""

from functools import partial

from drf_spectacular.utils import OpenApiResponse

from api.errors import UNAUTHENTICATED
from api.schema import SENTENCES, Call, shown_refusal

REFUSAL = {"message": str}
UNPROCESSABLE = {"message": str, "errors": dict[str, list[str]]}


def refusal(status: int) -> OpenApiResponse:
    """An error of addy.io's shape, with an example."""
    if status == 422:
        sentence = "The field “domain” is required."
        return shown_refusal(422, UNPROCESSABLE, {"message": sentence, "errors": {"domain": [sentence]}})
    sentence = UNAUTHENTICATED if status == 401 else SENTENCES[status]
    return shown_refusal(status, REFUSAL, {"message": sentence})


AddyCall = partial(Call, refusal=refusal, dialect="addy.io")
