"""What admins and managers do to other people's things is written down, and stays as it was written."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aliases.issuing import issue
from core.audit import AppendOnly, AuditEntry
from domains.models import Domain
from tests.rig.admin import INLINES
from tokens.models import Token

pytestmark = pytest.mark.django_db


def entries() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor_name", "action", "subject"))


def test_an_admins_actions_are_written_down(
    boss: Client, root: User, alice: User, example_com: Domain
) -> None:
    alias = issue(owner=alice)
    token, secret = Token.objects.issue(owner=alice, name="phone")

    boss.post("/admin/aliases/alias/", {"action": "disable", "_selected_action": [alias.pk]})
    boss.post("/admin/accounts/user/", {"action": "deactivate", "_selected_action": [alice.pk]})
    boss.post("/admin/tokens/token/", {"action": "revoke", "_selected_action": [token.pk]})
    change = {"name": "Alice", "is_active": "", "is_superuser": ""}
    boss.post(f"/admin/accounts/user/{alice.pk}/change/", change | INLINES)

    assert entries() == [
        (root.email, "alias.disable", alias.address),
        (root.email, "user.deactivate", alice.email),
        (root.email, "token.revoke", "phone"),
        (root.email, "user.change", alice.email),
    ]
    first = AuditEntry.objects.earliest("pk")
    assert (first.subject_type, first.subject_key) == ("aliases.alias", str(alias.pk))
    assert first.remote_address == "127.0.0.1"
    assert "Name" in AuditEntry.objects.latest("pk").detail
    assert secret not in str(list(AuditEntry.objects.values()))


def test_a_managers_grants_are_written_down(alice: User, mallory: User, other_org: Domain) -> None:
    other_org.managers.add(alice)
    client = Client()
    client.force_login(alice)

    for _ in range(2):
        client.post("/domains/other.org/", {"email": mallory.email})
    grant = other_org.grants.get()
    client.post(f"/domains/other.org/{grant.pk}/revoke/")

    assert [(who, action) for who, action, _subject in entries()] == [
        (alice.email, "accessgrant.add"),
        (alice.email, "accessgrant.delete"),
    ]


def test_a_command_is_written_down_without_its_secret(
    alice: User, other_org: Domain, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("grant_access", "other.org", alice.email)
    call_command("create_token", alice.email, "script")

    details = list(AuditEntry.objects.order_by("pk").values_list("action", "detail"))

    assert details == [
        ("command.grant_access", "domain=other.org, email=alice@example.com, by=None"),
        ("command.create_token", "email=alice@example.com, name=script"),
    ]


def test_an_entry_is_never_changed_or_deleted(alice: User) -> None:
    entry = AuditEntry.objects.record(None, "x", alice)
    for action in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(action="y"),
    ):
        with pytest.raises(AppendOnly):
            action()

    assert AuditEntry.objects.get().action == "x"


def test_an_entry_outlives_its_actor_and_ends_after_its_time(boss: Client, root: User, alice: User) -> None:
    other = User.objects.create_superuser("other@admin.test", "other-password-1")
    AuditEntry.objects.create(actor=other, actor_name=other.email, action="x")
    other.delete()
    AuditEntry.objects.create(action="old", moment=timezone.now() - timedelta(days=366))

    call_command("prune_audit")

    assert entries() == [("other@admin.test", "x", "")]


def test_the_admin_finds_by_the_beginning_in_any_case(boss: Client, root: User) -> None:
    AuditEntry.objects.create(action="token.revoke", subject="Bitwarden", actor_name=root.email)

    for searched in ("Bitw", "bitw", "ROOT@", "token."):
        assert "token.revoke" in boss.get("/admin/core/auditentry/", {"q": searched}).content.decode()
    assert "token.revoke" not in boss.get("/admin/core/auditentry/", {"q": "itwarden"}).content.decode()


def test_the_admin_reads_and_exports_but_does_not_write(boss: Client, alice: User) -> None:
    entry = AuditEntry.objects.create(action="alias.disable", subject="=1+1", actor_name="root@admin.test")

    assert "alias.disable" in boss.get("/admin/core/auditentry/").content.decode()
    page = boss.get(f"/admin/core/auditentry/{entry.pk}/change/").content.decode()
    assert "root@admin.test" in page.partition('id="content"')[2]
    assert "=1+1" in page.partition('id="content"')[2].partition("</h2>")[2]
    assert boss.post(f"/admin/core/auditentry/{entry.pk}/change/", {"action": "y"}).status_code == 403
    assert boss.post(f"/admin/core/auditentry/{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    exported = boss.post("/admin/core/auditentry/", {"action": "export", "_selected_action": [entry.pk]})

    assert exported["Content-Type"] == "text/csv; charset=utf-8"
    assert ",'=1+1," in exported.getvalue().decode()
    client = Client()
    client.force_login(alice)
    assert client.get("/admin/core/auditentry/").status_code in {302, 403}
