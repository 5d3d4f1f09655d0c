"""`export_config` and `import_config`: everything out and in again, or nothing."""

import json
from datetime import timedelta
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Identity, User
from aliases.issuing import issue
from aliases.models import Alias, AliasPreferences, NameSpace, SenderDomain
from aliases.spaces import change, give, switch
from contacts.book import add_contact
from contacts.models import Contact
from domains.models import AccessGrant, Domain
from rules.models import Rule
from tests.rig.ruling import condition, rule
from tokens.models import Token
from tokens.scopes import EVERY_CALL, Scope
from transfer.installation.document import ConfigError
from transfer.installation.exporting import export_config
from transfer.installation.importing import import_config


def rich_installation() -> None:
    """Something of everything: every state an alias can be in, a grant, tokens, a second factor."""
    root = User.objects.create_superuser("root@admin.test", "root-password-1")
    alice = User.objects.create_user("alice@example.com", "alice-password-1", name="Alice")
    second = EmailAddress.objects.create(user=alice, email="alice@elsewhere.test", verified=True)
    EmailAddress.objects.create(user=alice, email="new@elsewhere.test", verified=False)
    Authenticator.objects.create(user=alice, type="totp", data={"secret": "JBSWY3DPEHPK3PXP"})
    Identity.objects.create(
        user=alice, issuer="https://id.test", subject="a1", gave_admin=True, gave_domains=["example.com"]
    )
    User.objects.create_user("gone@example.com").deactivate()
    example = Domain.objects.create(name="example.com", anonmail_enabled=True, alias_quota=99)
    bucher = Domain.objects.create(name="xn--bcher-kva.example", anonmail_enabled=True, comment="ünïcode")
    bucher.managers.add(alice)
    example.grant(root, granted_by=alice)
    AliasPreferences.objects.create(user=alice, default_domain=bucher, style="uuid")
    Token.objects.issue(
        owner=alice, name="phone", networks=["192.0.2.0/24"], scopes=Scope.MANAGE, by_password=True
    )
    Token.objects.issue(owner=root, name="old", expires=timezone.now() - timedelta(days=1))
    plain = issue(owner=alice, hostname="github.com", note="a\nb ☃")
    plain.edit(pinned=True, name="Git Hub")
    Alias.objects.filter(pk=plain.pk).update(forwards=7, blocks=2, replies=1)
    contact, _existed = add_contact(plain, "Jane Dœ <jane@shop.test>")
    Contact.objects.filter(pk=contact.pk).update(forwards=3, replies=2, last_reply_at=timezone.now())
    add_contact(plain, "spam@shop.test")[0].block()
    SenderDomain.objects.create(alias=plain, domain="mailer.net", is_proven=True, told_at=timezone.now())
    SenderDomain.objects.create(alias=plain, domain="stranger.biz", answer="block")
    lost = EmailAddress.objects.create(user=alice, email="lost@elsewhere.test", verified=True)
    made = rule(
        alice,
        condition("header", "matches", "^<a", header="List-Id"),
        destinations=[second, lost],
        subject="x",
    )
    Rule.objects.filter(pk=made.pk).update(applied=3, applied_at=timezone.now(), stops=True)
    lost.delete()
    rule(alice, condition("subject", "is_not", "a", "b"), blocks=True).switch(on=False)
    space = give(domain=example, owner=alice, suffix="alice")
    wishes = {"names": "shop*", "is_expression": False, "key_word": "k7", "per_day": 3}
    change(space, **wishes, rules=[("shop.b*", second.email), ("shop*", alice.email)])
    switch(space, True)
    give(domain=bucher, owner=alice)
    both = [second.email, alice.email]
    issue(owner=alice, domain="example.com", destinations=both).disable()
    issue(owner=alice, domain="example.com").soft_delete()
    Alias.objects.filter(pk=issue(owner=root, domain="example.com").pk).strip()


def wipe() -> None:
    """Remove everything that an export holds."""
    Alias.objects.all().strip()
    Alias.objects.all().delete()
    User.objects.all().delete()
    Domain.objects.all().delete()


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "exported"}


@pytest.mark.django_db
def test_everything_comes_back_as_it_was() -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    wipe()

    counts = import_config(document)

    assert counts == {
        "users": 3,
        "domains": 2,
        "preferences": 1,
        "grants": 1,
        "name_spaces": 2,
        "tokens": 2,
        "aliases": 4,
        "contacts": 2,
        "senders": 2,
    }
    assert without_time(json.loads(json.dumps(export_config()))) == without_time(document)
    assert User.objects.get(email="alice@example.com").check_password("alice-password-1")
    assert AccessGrant.objects.get().granted_by == User.objects.get(email="alice@example.com")


@pytest.mark.django_db
def test_an_export_holds_every_field_there_is() -> None:
    """A field added to a model later must be added to the export, or named here."""
    rich_installation()
    document = export_config()
    known = {
        Domain: (document["domains"][0], {"id", "name"}),
        User: (document["users"][0], {"id", "email"}),
        Alias: (document["aliases"][0], {"id", "domain", "owner", "address"}),
        Token: (document["tokens"][0], {"id", "owner"}),
        AccessGrant: (document["grants"][0], {"id"}),
        AliasPreferences: (document["preferences"][0], set()),
        Contact: (document["contacts"][0], {"id"}),
        SenderDomain: (document["senders"][0], {"id"}),
        NameSpace: (document["name_spaces"][0], {"id"}),
        Identity: (document["users"][1]["identities"][0], {"id", "user"}),
        Rule: (document["users"][1]["rules"][0], {"id", "owner"}),
    }

    for model, (row, elsewhere) in known.items():
        fields = {field.name for field in model._meta.concrete_fields} - elsewhere
        assert fields <= set(row), model


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rules": [["a*", "nobody@elsewhere.test"]]}, "is not an address of the name space's owner"),
        ({"rules": [["Ä", "alice@example.com"]]}, "is no pattern for names"),
        ({"suffix": "a.b"}, "2 to 30 lower-case letters"),
        ({"suffix": 7}, "name_spaces[0]: "),
        ({"names": "(?=a)", "is_expression": True}, "regular expression"),
        ({"domain": "xn--bcher-kva.example"}, "not both ways"),
        ({"owner": None}, "name_spaces[0]: "),
        ({"domain": None}, "name_spaces[0]: "),
        ({"per_day": -1}, "per_day: "),
    ],
)
def test_names_that_cannot_be_given_stop_the_import(changes: dict[str, Any], reason: str) -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    wipe()
    document["name_spaces"][0] |= changes
    document["name_spaces"].sort(key=lambda row: row["suffix"] != "")

    with pytest.raises(ConfigError) as refused:
        import_config(document)

    assert reason in str(refused.value).replace("name_spaces[1]", "name_spaces[0]")
    assert not NameSpace.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"destinations": ["nobody@elsewhere.test"]}, "is not an address of the rule's owner"),
        ({"conditions": []}, "conditions must be an array"),
        ({"conditions": [{"of": "body", "match": "is", "values": ["x"]}]}, "no such condition"),
        ({"conditions": [{"of": "subject", "match": "is", "values": "x"}]}, "must be texts"),
        ({"conditions": [{"of": "subject", "match": "matches", "values": ["(a"]}]}, "regular expression"),
        ({"name": "x" * 51}, "name: "),
        ({"place": -1}, "place: "),
    ],
)
def test_a_rule_that_cannot_be_stops_the_import(changes: dict[str, Any], reason: str) -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    wipe()
    document["users"][1]["rules"][0] |= changes

    with pytest.raises(ConfigError) as refused:
        import_config(document)

    assert reason in str(refused.value)
    assert not Rule.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alias": "nobody@example.com"}, "there is no alias nobody@example.com"),
        ({"alias": 7}, "alias must be a text"),
        ({"address": "nonsense"}, "is not a valid e-mail address"),
        ({"reverse_address": "info@example.com"}, "is not a reverse address on the alias's domain"),
        ({"reverse_address": f"r.{'a' * 26}@elsewhere.test"}, "is not a reverse address"),
        ({"reverse_address": None}, "reverse_address must be a text"),
        ({"reverse_address": "{other}"}, "a reverse address is there already, or twice"),
        ({"address": "spam@shop.test"}, "an alias has the same contact twice"),
        ({"forwards": -1}, "forwards: "),
        ({"name": "x" * 1000}, "at most"),
    ],
)
def test_a_contact_that_cannot_be_is_told(changes: dict[str, object], reason: str) -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    first, second = document["contacts"]
    first |= changes
    if first["reverse_address"] == "{other}":
        first["reverse_address"] = second["reverse_address"]
    wipe()

    with pytest.raises(ConfigError) as refusal:
        import_config(document)

    assert reason in str(refusal.value)
    assert not Alias.objects.exists()
    assert not Contact.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alias": "nobody@example.com"}, "there is no alias nobody@example.com"),
        ({"domain": "no domain"}, "senders[0]: "),
        ({"domain": "stranger.biz"}, "an alias has the same sender twice"),
        ({"answer": "perhaps"}, "answer: "),
    ],
)
def test_a_sender_that_cannot_be_is_told(changes: dict[str, object], reason: str) -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    document["senders"][0] |= changes
    wipe()

    with pytest.raises(ConfigError) as refusal:
        import_config(document)

    assert reason in str(refusal.value)
    assert not SenderDomain.objects.exists()


@pytest.mark.django_db
def test_an_export_from_before_there_were_contacts_brings_none() -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    del document["contacts"], document["senders"]
    wipe()

    counts = import_config(document)
    assert (counts["contacts"], counts["senders"]) == (0, 0)
    assert Alias.objects.count() == 4


@pytest.mark.django_db
def test_an_export_from_before_there_were_uuids_gives_new_ones() -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    for row in document["aliases"]:
        del row["uuid"]
    wipe()

    import_config(document)

    assert len(set(Alias.objects.values_list("uuid", flat=True))) == 4


@pytest.mark.django_db
def test_an_export_from_before_there_were_rights_gives_tokens_all_of_them() -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    for row in document["tokens"]:
        del row["scopes"]
    wipe()

    import_config(document)

    assert {token.rights for token in Token.objects.all()} == {EVERY_CALL}


@pytest.mark.django_db
@pytest.mark.parametrize("scopes", [[], ["everything"], "create", 1, [1], None])
def test_a_token_without_rights_that_there_are_is_no_export(scopes: object) -> None:
    rich_installation()
    document = json.loads(json.dumps(export_config()))
    document["tokens"][0]["scopes"] = scopes
    wipe()

    with pytest.raises(ConfigError, match=r"tokens\[0\]"):
        import_config(document)

    assert not Token.objects.exists()


@pytest.mark.django_db
def test_tokens_work_after_the_move() -> None:
    alice = User.objects.create_user("alice@example.com")
    _token, secret = Token.objects.issue(owner=alice, name="phone")
    document = export_config()
    wipe()
    import_config(document)

    from rest_framework.test import APIClient

    answer = APIClient(HTTP_AUTHENTICATION=f"alice@example.com:{secret}").get("/api/user_info")

    assert answer.status_code == 200
    assert secret not in json.dumps(document)


def broken(change: str) -> dict[str, Any]:
    """An export of the rich installation, with one thing wrong."""
    document = json.loads(json.dumps(export_config()))
    alias = document["aliases"][0]
    if change == "taken":
        document["aliases"].append(dict(alias))
    elif change == "stranger's destination":
        alias["destinations"] = ["root@admin.test"]
    elif change == "unverified destination":
        alias["destinations"] = ["new@elsewhere.test"]
    elif change == "no destination":
        alias["destinations"] = []
    elif change == "reserved":
        alias["address"] = "postmaster@example.com"
    elif change == "unknown owner":
        alias["owner"] = "nobody@example.com"
    elif change == "no owner":
        alias["owner"] = None
    elif change == "long note":
        alias["note"] = "x" * 10_001
    elif change == "an own address":
        alias["address"] = "alice@example.com"
    elif change == "no moment":
        alias["created"] = "yesterday"
    elif change == "domain":
        document["domains"][0]["name"] = "no domain"
    elif change == "digest":
        document["tokens"][0]["digest"] = "secret"
    elif change == "not rows":
        document["users"] = {"a": 1}
    elif change == "row without key":
        document["users"][0] = {}
    elif change == "uuid":
        document["aliases"][1]["uuid"] = alias["uuid"]
    elif change == "no uuid":
        alias["uuid"] = "x"
    elif change == "negative":
        alias["forwards"] = -1
    return document


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("taken", "aliases[4]: the address"),
        ("stranger's destination", "aliases[0]: root@admin.test is not a verified address"),
        ("unverified destination", "aliases[0]: new@elsewhere.test is not a verified address"),
        ("no destination", "aliases[0]: an alias needs a destination"),
        ("reserved", "aliases[0]: This name is reserved."),
        ("unknown owner", "aliases[0]: there is no user nobody@example.com"),
        ("no owner", "aliases[0]: an alias without an owner must be a deleted one"),
        ("long note", "aliases[0]: A note has at most 10,000 characters."),
        ("an own address", "aliases[0]: the address alice@example.com is taken."),
        ("no moment", "aliases[0]: 'yesterday' is not a date and time"),
        ("domain", "domains[0]:"),
        ("digest", "tokens[0]: digest must be 64"),
        ("not rows", "users: must be an array of objects."),
        ("row without key", "users[0]: email must be a text"),
        ("negative", "aliases[0]:"),
        ("uuid", "aliases[1]: the uuid "),
        ("no uuid", "aliases[0]: uuid: "),
    ],
)
def test_one_wrong_row_is_named_and_nothing_is_imported(change: str, sentence: str) -> None:
    rich_installation()
    document = broken(change)
    wipe()

    with pytest.raises(ConfigError) as refusal:
        import_config(document)

    assert refusal.value.problems[0].startswith(sentence)
    assert not User.objects.exists()
    assert not Domain.objects.exists()


@pytest.mark.django_db
def test_what_is_there_already_is_not_overwritten() -> None:
    rich_installation()

    with pytest.raises(ConfigError) as refusal:
        import_config(export_config())

    assert "users[0]: the user root@admin.test is there already" in refusal.value.problems


@pytest.mark.django_db
@pytest.mark.parametrize("document", [None, [], {}, {"format": "anonmail-config", "version": 2}])
def test_another_document_is_refused(document: object) -> None:
    with pytest.raises(ConfigError):
        import_config(document)


@pytest.mark.django_db
def test_the_commands_write_a_private_file_and_read_it(tmp_path: Path) -> None:
    rich_installation()
    file = tmp_path / "config.json"
    call_command("export_config", output=str(file), stderr=StringIO())
    wipe()

    said = call_command("import_config", str(file), stdout=StringIO())

    assert file.stat().st_mode & 0o777 == 0o600
    assert "4 aliases" in said
    with pytest.raises(CommandError, match="cannot be created"):
        call_command("export_config", output=str(file))
    file.write_text("{")
    with pytest.raises(CommandError, match="is not valid JSON"):
        call_command("import_config", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_config", str(tmp_path / "missing"))


def test_a_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(2**30)

    with pytest.raises(CommandError, match="larger than 512 MB"):
        call_command("import_config", str(file))


def test_standard_input_is_read_up_to_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer.management.commands.import_config.FILE_MAX_BYTES", 2**20)
    sent = BytesIO(b" " * 2**21)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(sent))

    with pytest.raises(CommandError, match="larger than 1 MB"):
        call_command("import_config", "-")

    assert sent.tell() < 2**21
