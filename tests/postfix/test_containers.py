"""Postfixes like those of three mail servers in containers, changed by `postfix_config --for` as their start
scripts do it. Their tables, which are in databases and other containers there, are files here.
"""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import User
from aliases import issuing
from aliases.models import Alias
from domains.models import Audience, Domain
from mail.postfix import containers
from mail.postfix.containers import SERVERS
from tests.conftest import forwards_as_it_came, missing
from tests.mail.postfix.servers import main_cf
from tests.postfix.beside import Beside
from tests.postfix.conftest import Site
from tests.postfix.sender import ACCEPTED, EVE, Told, figures, send, stranger, unknown
from tests.rig import container_steps, mta
from tests.rig.mta import Ports, Postfix
from tests.rig.ports import free_port

MAILBOX = "bob@shared.test"


@dataclass
class Container(Beside):
    """One server's Postfix after its start."""

    name: str = field(kw_only=True)


def tables(server: str, etc: Path, mailboxes: int) -> dict[str, str]:
    """Files in place of that server's tables, and where ordinary mail goes."""
    transport = f"smtp:[127.0.0.1]:{mailboxes}"
    contents = {
        "empty": "",
        "domains": "shared.test x\ntheirs.test x\n",
        "mailboxes": f"{MAILBOX} x\npostmaster@shared.test x\nbob@theirs.test x\n",
        "aliases": f"info@shared.test {MAILBOX}\n",
        # Mailu's know mailboxes too, and its names are one prefix and the question.
        "podop-alias": f"info@shared.test {MAILBOX}\n{MAILBOX} {MAILBOX}\nbob@theirs.test bob@theirs.test\n",
        "podop-domain": "shared.test x\ntheirs.test x\n",
        "podop-mailbox": f"{MAILBOX} x\nbob@theirs.test x\n",
        "podop-transport": "",
        # SRS, for senders that are not in its domains.
        "podop-sendermap": "eve@sender.test SRS0=x=y=sender.test=eve@theirs.test\n",
        # docker-mailserver's.
        "vhost": "shared.test\ntheirs.test\n",
        "vmailbox": f"{MAILBOX} x\nbob@theirs.test x\n",
        "virtual": f"info@shared.test {MAILBOX}\n",
    }
    for name, content in contents.items():
        (etc / name).write_text(content)
    if server == "mailu":
        return {
            "podop_table": f"texthash:{etc}/podop-",
            "transport_map": f"texthash:{etc}/empty",
            "transport": transport,
        }
    if server == "docker-mailserver":
        return {
            "etc": str(etc),
            "transport": transport,
            "policy": "inline:{}",
            "header_checks": f"regexp:{etc}/empty",
        }
    proxied = (
        "relay_domains",
        "relay_recipients",
        "resources",
        "spam_aliases",
        "alias_domains",
        "recipients",
    )
    proxied += ("custom_transport", "local_transport", "relay_transport")
    there = dict.fromkeys(proxied, f"proxy:texthash:{etc}/empty")
    there |= dict.fromkeys(("mx_access", "tls_enforced"), f"texthash:{etc}/empty")
    maps = {name: f"proxy:texthash:{etc}/{name}" for name in ("domains", "mailboxes", "aliases")}
    return there | maps | {"transport": transport}


def install(server: str) -> Iterator[tuple[str, Path, Ports, int]]:
    """A Postfix like the server's, as its image has it."""
    mailboxes = free_port()
    with ExitStack() as stack:
        root = stack.enter_context(mta.directory())
        etc = root / container_steps.CONFIGURATIONS.get(server, "etc")
        etc.mkdir(parents=True)
        kind = SERVERS[server]
        # Outside a container, its directory is where it is.
        shared = kind.shared(root)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(containers.SERVERS, server, dataclasses.replace(kind, shared_inside=str(shared)))  # type: ignore[arg-type]
        theirs = main_cf(server, **tables(server, etc, mailboxes)).replace("# Overrides #\n", "")
        # Other services, and the DNS, are not here.
        theirs = theirs.replace("check_policy_service inline:{}, ", "")
        theirs = theirs.replace(",\n  reject_unknown_sender_domain", "")
        try:
            ports = Ports.free(root / "queue")
            ports = dataclasses.replace(ports, shared=shared)
            shared.mkdir(parents=True)
            shutil.chown(shared, group="postfix")
            shared.chmod(0o2750)
            mta.install(
                etc,
                theirs,
                "smtp_sender_cleanup unix n - y - 0 cleanup\n",
                ports,
                {"queue_directory": str(root / "queue")},
                {},
            )
        except mta.Missing as reason:
            missing(str(reason))
        # As in all three: no service but this one is chrooted.
        services = re.sub(
            r"(?m)^((?!smtp_sender_cleanup)\S+ \S+ \S+ \S+) y", r"\1 n", (etc / "master.cf").read_text()
        )
        (etc / "master.cf").write_text(services)
        with (etc / "main.cf").open("a") as file:
            # Where mailcow's start cuts.
            file.write("# Overrides #\n")
        yield server, etc, ports, mailboxes


def without_overridden_lines(etc: Path) -> None:
    """Leave each parameter's last line in main.cf: Postfix warns of others before its own log service reads,
    and stands still after ten warnings. There it logs to syslog."""
    mta.back_date(etc)
    lines = Postfix(etc).command("postconf", "-n")
    (etc / "main.cf").write_text(lines)
    mta.back_date(etc)


@pytest.fixture(scope="module", params=SERVERS)
def installed(request: pytest.FixtureRequest) -> Iterator[tuple[str, Path, Ports, int]]:
    yield from install(request.param)


@pytest.fixture
def container(
    installed: tuple[str, Path, Ports, int], transactional_db: None, settings: Settings
) -> Iterator[Container]:
    """The same with Anonmail beside its mailboxes; the domain example.com is Anonmail's alone."""
    server, etc, ports, mailboxes = installed
    for name, value in ports.settings().items():
        setattr(settings, name, value)
    settings.MAIL_SIZE_LIMIT = 104857600
    for name in ("shared.test", "example.com"):
        Domain.objects.create(
            name=name, anonmail_enabled=True, audience=Audience.EVERYONE, is_shared=name == "shared.test"
        )
    place = f"127.0.0.1:{ports.reinjection}"
    root = ports.shared
    for _each in SERVERS[server].shared_there.split("/"):
        root = root.parent
    call_command(
        "postfix_config",
        f"--for={server}",
        f"--directory={root}",
        f"--postfix={etc}",
        f"--reinjection={place}",
        stdout=StringIO(),
        stderr=StringIO(),
    )
    container_steps.start(server, root, etc)
    without_overridden_lines(etc)
    with mta.started(etc, ports) as postfix:
        made = Container(postfix, ports, mailboxes, settings, name=server)
        with mta.far_end(made.theirs, mailboxes):
            yield made
        postfix.empty()


@pytest.fixture
def anne(db: None) -> User:
    """Owns aliases; her own mailbox is elsewhere."""
    return forwards_as_it_came(User.objects.create_user("anne@home.test", "anne-password-12"))


def issue(owner: User, domain: str) -> Alias:
    return issuing.issue(owner=owner, domain=domain, destinations=[owner.email])


def tell(site: Site, *recipients: str, sender: str = EVE) -> Told:
    return send(site, *recipients, sender=sender)


def test_aliases_and_mailboxes_each_get_their_mail(container: Container, anne: User) -> None:
    shared, alone = issue(anne, "shared.test"), issue(anne, "example.com")

    with container.open() as site:
        told = [tell(site, each) for each in (shared.address, alone.address, MAILBOX, "info@shared.test")]
        arrived = site.sink.wait_for(2)
        mailboxes = container.theirs.wait_for(2)
        bounces = [tell(site, message.sender, sender="") for message in arrived]
        site.postfix.wait_until_idle()

    assert [answers.data[0][:9] for answers in told] == [ACCEPTED] * 4
    assert {message.recipient for message in arrived} == {"anne@home.test"}
    assert {message.sender.partition("@")[2] for message in arrived} == {"shared.test", "example.com"}
    assert all(message.sender.startswith("b.") for message in arrived)
    assert [message.recipient for message in mailboxes] == [MAILBOX] * 2
    assert [answers.codes for answers in bounces] == [["250"]] * 2
    assert [figures(alias)[0] for alias in (shared, alone)] == [1, 1]


def test_a_disabled_alias_is_refused_like_an_unknown_address(container: Container, anne: User) -> None:
    alias = issue(anne, "shared.test")
    alias.disable()
    nobody = "no-such-address@shared.test"

    with container.open() as site, stranger(site) as eve:
        told = eve.send(alias.address, nobody)
        theirs = eve.send("no-such-address@theirs.test")

    assert told.recipients == {alias.address: unknown(alias.address), nobody: unknown(nobody)}
    assert theirs.codes == ["550"]


def test_what_was_not_offered_before_is_not_offered(container: Container) -> None:
    with container.open() as site, stranger(site) as eve:
        offered = {line[4:].split()[0].upper() for line in eve.greeting.splitlines()[1:]}
        answer = eve.say("MAIL FROM:<évé@sender.test> SMTPUTF8".encode())

    assert {"DSN", "ETRN", "VRFY"}.isdisjoint(offered)
    if container.name == "mailu":
        assert "SMTPUTF8" in offered
    else:
        assert "SMTPUTF8" not in offered
        assert answer.startswith("5")
    assert ("CHUNKING" in offered) is (container.name != "mailcow")


@pytest.mark.parametrize("domain", ["shared.test", "example.com", "theirs.test"])
def test_a_stranger_cannot_relay_through_a_mail_servers_container(domain: str, container: Container) -> None:
    assert container.relays(domain) == []


def test_without_anonmail_mailboxes_get_their_mail_and_aliases_wait(container: Container, anne: User) -> None:
    alias = issue(anne, "shared.test")

    told = tell(container.closed, MAILBOX, "bob@theirs.test", "info@shared.test")
    away = tell(container.closed, alias.address)
    arrived = container.theirs.wait_for(3)

    assert told.codes == ["250"] * 3
    assert {message.recipient for message in arrived} == {MAILBOX, "bob@theirs.test"}
    assert away.codes == ["451"]
