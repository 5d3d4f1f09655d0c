"""What the tests of domains and user names, the names for aliases on the fly, share."""

from typing import Any

from aliases.models import NameSpace
from api.addy.ids import public_id

# addy.io's words for name spaces: of a whole domain, and with a suffix.
KINDS = ("domain", "username")


def id_of(space: NameSpace) -> str:
    return str(public_id("name space", space.pk) if space.suffix else public_id("domain", space.domain_id))


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    body = answer.json()
    assert set(body) == ({"message", "errors"} if status == 422 else {"message"})
    return str(body["message"])
