"""“Send email” of SimpleLogin's browser extension, from its calls to what the correspondent gets.

The extension is no package that could be installed. These are the requests of version 3.0.7 (commit d18b40f
of simple-login/browser-extension: `src/popup/APIService.js`, and `Main.vue` and `ReverseAlias.vue` in
`components`), with their header and bodies; of the answers, what it reads.
"""

import json
from collections.abc import Callable
from email import message_from_bytes
from email.utils import parseaddr
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from aliases.models import Alias
from tests.rig.mail_doors import Hop
from tests.rig.replying import Answer, letter
from tokens.models import Token
from tokens.scopes import EVERYTHING

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Answer]


class Extension:
    """`callAPI` of APIService.js: a body goes with POST and PUT alone, and `Authentication` has the key."""

    def __init__(self, key: str) -> None:
        self.key = key

    def call(self, method: str, path: str, data: Any = None) -> tuple[int, Any]:
        options: dict[str, Any] = {"headers": {"Authentication": self.key}}
        if method == "POST":
            options |= {"data": json.dumps(data or {}), "content_type": "application/json"}
        answer = Client().generic(method, path, **options)
        return answer.status_code, answer.json()


@pytest.fixture
def extension(alice: User) -> Extension:
    _token, secret = Token.objects.issue(owner=alice, name="extension", scopes=EVERYTHING)
    return Extension(f"{alice.email}:{secret}")


def test_its_owner_writes_to_somebody_from_an_alias(
    extension: Extension, alias: Alias, send: Send, hop: Hop
) -> None:
    # Main.vue: without this, it shows no button.
    assert extension.call("GET", "/api/user_info")[1]["can_create_reverse_alias"] is True
    (shown,) = extension.call("POST", "/api/v2/aliases?page_id=0", {"query": ""})[1]["aliases"]
    # ReverseAlias.vue names the mailboxes from which its owner can write.
    assert [mailbox["email"] for mailbox in shown["mailboxes"]] == ["alice.secret@home.test"]

    code, made = extension.call("POST", f"/api/aliases/{shown['id']}/contacts", {"contact": "jane@shop.test"})

    assert (code, made["contact"]) == (201, "jane@shop.test")
    # It copies this for the To field of a mail program.
    _name, address = parseaddr(made["reverse_alias"])
    assert send(address, letter(made["reverse_alias"]))[0] == 250
    ((_sender, recipient, content),) = hop.sent
    assert recipient == "jane@shop.test"
    seen = message_from_bytes(content)
    assert (seen["From"], seen["To"]) == (shown["email"], "jane@shop.test")
    assert b"alice" not in content


@pytest.mark.parametrize("contact", ["", "nonsense", "reverse"])
def test_it_shows_the_sentence_of_a_refusal(extension: Extension, alias: Alias, contact: str) -> None:
    path = f"/api/aliases/{alias.pk}/contacts"
    if contact == "reverse":
        contact = extension.call("POST", path, {"contact": "jane@shop.test"})[1]["reverse_alias"]

    code, answer = extension.call("POST", path, {"contact": contact})

    assert code == 400
    assert answer["error"].endswith(".")


def test_the_same_correspondent_again_has_the_same_reverse_alias(extension: Extension, alias: Alias) -> None:
    path = f"/api/aliases/{alias.pk}/contacts"

    (first, one), (second, two) = (
        extension.call("POST", path, {"contact": text})
        for text in ("Jane <jane@shop.test>", "JANE@shop.test")
    )

    assert (first, second) == (201, 200)
    assert one["reverse_alias"] == two["reverse_alias"]
