"""Tokens in Django admin: to look at and to revoke."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.rig.admin import act
from tokens.models import Token
from tokens.scopes import Scope

pytestmark = pytest.mark.django_db


def test_a_token_is_revoked_and_cannot_be_made_or_changed(boss: Client, alice: User) -> None:
    one, _secret = Token.objects.issue(owner=alice, name="one")
    two, _secret = Token.objects.issue(owner=alice, name="two")

    assert boss.get(reverse("admin:tokens_token_add")).status_code == 403
    assert boss.post(reverse("admin:tokens_token_change", args=[one.pk]), {"name": "x"}).status_code == 403
    act(boss, "tokens_token", "revoke", one.pk)
    boss.post(reverse("admin:tokens_token_delete", args=[two.pk]), {"post": "yes"})

    assert not Token.objects.exists()


def test_tokens_are_found_by_their_owner_and_marked_when_dead(boss: Client, alice: User, root: User) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="phone", scopes=Scope.CREATE | Scope.ACTIVITY)
    Token.objects.issue(owner=root, name="other")

    found = boss.get(reverse("admin:tokens_token_changelist"), {"q": "ALICE@example.com"})
    assert list(found.context["cl"].result_list) == [token]
    assert 'alt="True"' in found.content.decode()
    assert "Create and list, Read mail activity" in found.content.decode()
    alice.deactivate()

    page = boss.get(reverse("admin:tokens_token_changelist"), {"q": "alice"}).content.decode()
    assert 'alt="False"' in page


def test_revoking_in_the_list_asks_the_verb(
    boss: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _secret = Token.objects.issue(owner=alice, name="phone")
    revoked = []
    monkeypatch.setattr(Token, "revoke", lambda token: revoked.append(token.name))

    boss.post(reverse("admin:tokens_token_delete", args=[token.pk]), {"post": "yes"})

    assert revoked == ["phone"]
