"""`postfix_config --for`: the files of a mail server in containers, applied as its start scripts do."""

import os
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from core.listening import Endpoint, endpoint, listening_socket
from domains.models import Domain
from mail.postfix import running
from mail.postfix.containers import SERVERS
from mail.postfix.running import Running, split_list
from tests.conftest import missing
from tests.mail.postfix.servers import main_cf
from tests.rig import container_steps
from tests.rig.container_steps import CONFIGURATIONS
from tests.rig.mta import directory
from tests.rig.ports import free_port

pytestmark = pytest.mark.postgresql
KEPT = {
    "mailcow": "data/conf/postfix/extra.cf",
    "docker-mailserver": "docker-data/dms/config/user-patches.sh",
    "mailu": "overrides/postfix/postfix.cf",
}
LISTS = ["virtual_alias_maps", "smtpd_recipient_restrictions", "transport_maps", "relay_domains"]


class Server:
    """A directory with a compose file, and Postfix's configuration in its container."""

    def __init__(self, name: str, root: Path, settings: Settings) -> None:
        self.name, self.root, self.settings = name, root / "compose", settings
        self.etc = self.root / CONFIGURATIONS[name] if name == "mailcow" else root / "etc"
        self.etc.mkdir(parents=True)
        self.shared = SERVERS[name].shared(self.root)
        self.shared.mkdir(parents=True)
        self.tables = SERVERS[name].tables(self.root)
        settings.MAIL_POSTFIX_DIRECTORY = str(self.shared)
        for door in ("LMTP", "POLICY", "SOCKETMAP"):
            setattr(settings, f"MAIL_{door}_LISTEN", f"unix:{self.shared}/{door.lower()}")
        settings.MAIL_SIZE_LIMIT = 104857600
        self.theirs = main_cf(name)
        self.start_anew()

    def start_anew(self) -> None:
        """What the image has."""
        (self.etc / "main.cf").write_text(self.theirs)
        chrooted = "smtp_sender_cleanup unix n - y - 0 cleanup\n"
        (self.etc / "master.cf").write_text(f"smtp inet n - n - - smtpd\n{chrooted}")

    def command(self, *options: str) -> str:
        """`manage.py postfix_config --for` it."""
        out = StringIO()
        where = [] if self.name == "mailcow" else [f"--postfix={self.etc}"]
        call_command(
            "postfix_config",
            f"--for={self.name}",
            f"--directory={self.root}",
            *where,
            *options,
            stdout=out,
            stderr=out,
        )
        return out.getvalue()

    def apply(self) -> Running:
        """Start the container: run what its start script does with our files."""
        container_steps.start(self.name, self.root, self.etc)
        os.utime(self.etc / "main.cf", (0, 0))
        return Running(self.etc)

    def kept(self) -> str:
        return (self.root / KEPT[self.name]).read_text()


@pytest.fixture
def root() -> Iterator[Path]:
    """Where the server is: pytest's own directory is too deep for a UNIX socket's path."""
    with directory() as made:
        yield made


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, root: Path, settings: Settings, db: None) -> Server:
    if shutil.which("postconf") is None:
        missing("Postfix")
    Domain.objects.create(name="shared.test", is_shared=True)
    Domain.objects.create(name="ours.test")
    return Server(request.param, root, settings)


@pytest.fixture
def doors(server: Server) -> Iterator[None]:
    """Something listens where Anonmail does, and where its Postfix takes back mail."""
    port = free_port()
    server.settings.MAIL_NEXT_HOP = f"smtp://127.0.0.1:{port}"
    places = [
        endpoint(getattr(server.settings, f"MAIL_{door}_LISTEN")) for door in ("LMTP", "POLICY", "SOCKETMAP")
    ]
    listening = [listening_socket(place) for place in (*places, Endpoint("127.0.0.1", port))]
    yield
    for each in listening:
        each.close()


def test_the_server_takes_the_changes_and_keeps_what_it_had(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "postfix_program", lambda name: pytest.fail("there is no Postfix here"))
    server.command()
    monkeypatch.undo()

    there = server.apply()

    before = running.parameters_of(server.theirs)
    inside = SERVERS[server.name].shared_inside
    for name in LISTS:
        ours, *theirs = there.written(name, lambda _entry: False)
        assert f"{inside}-tables/" in ours, name
        assert [entry for entry in split_list(before.as_written(name)) if entry not in theirs] == [], name
    assert set(before.words("smtpd_discard_ehlo_keywords")) <= set(there.words("smtpd_discard_ehlo_keywords"))
    assert there["smtputf8_enable"] == before["smtputf8_enable"] or before["smtputf8_enable"] == ""
    assert there["anonmail_policy"].startswith(f"check_policy_service {{ unix:{inside}/policy,")
    clients = {"mailcow": "172.22.1.1", "docker-mailserver": "172.18.0.1", "mailu": "192.168.203.1"}
    assert there.overrides["10026/inet/mynetworks"] == clients[server.name]


def test_mailcows_cleanup_for_submitted_mail_reaches_our_sockets(
    root: Path, settings: Settings, db: None
) -> None:
    server = Server("mailcow", root, settings)
    server.command()

    cleanup = next(each for each in server.apply().services if each[0] == "smtp_sender_cleanup")

    assert cleanup[4] == "n"


def test_mailu_leaves_our_return_paths_as_they_are(root: Path, settings: Settings, db: None) -> None:
    server = Server("mailu", root, settings)
    server.command()

    overrides = server.apply().overrides

    assert overrides["10026/inet/cleanup_service_name"] == "anonmail-cleanup"
    assert overrides["anonmail-cleanup/unix/sender_canonical_maps"] == ""


def test_what_the_administrator_wrote_stays_and_a_second_run_changes_nothing(server: Server) -> None:
    mine = "export MINE=1" if server.name == "docker-mailserver" else "maximal_queue_lifetime = 2d"
    (server.root / KEPT[server.name]).write_text(f"# mine\n{mine}")

    server.command()
    once = server.kept()
    server.apply()
    server.command()

    assert once.startswith(f"# mine\n{mine}\n# Anonmail begins")
    assert server.kept().replace("myhostname = mail.site.test\n", "") == once


def test_starting_twice_changes_nothing(server: Server) -> None:
    server.command()

    once, again = server.apply(), server.apply()

    changed = {name for name, value in again.main.items() if once[name] != value}
    assert changed <= {"process_id"}
    assert again.services == once.services


def test_the_readme_says_how_to_undo_it(server: Server) -> None:
    (server.root / KEPT[server.name]).write_text("# mine\n")
    server.command()
    readme = (server.tables / "README").read_text()
    commands = readme.partition("To undo it")[2].splitlines()[1:]

    container_steps.undo([line.strip() for line in commands if line.startswith(" " * 7)], server.etc)
    if server.name != "mailcow":
        server.start_anew()
    there = server.apply()

    assert server.kept().replace("myhostname = mail.site.test\n", "") == "# mine\n"
    assert not server.shared.exists()
    assert not server.tables.exists()
    assert SERVERS[server.name].shared_inside not in str(there.main)
    assert [service[0] for service in there.services] == ["smtp", "smtp_sender_cleanup"]
    assert there.services[1][4] == "y"


def test_nothing_is_missing_where_it_was_done_as_written(server: Server, doors: None) -> None:
    reached_at = server.settings.MAIL_NEXT_HOP.removeprefix("smtp://")
    options = [f"--reached-at={reached_at}"]
    server.command(*options)
    assert "Postfix and Anonmail agree" in server.command(*options, "--check")

    (server.tables / "anonmail-shared").write_text("")
    (server.shared / "policy").unlink()

    with pytest.raises(CommandError, match="2 things are missing"):
        server.command(*options, "--check")


def test_a_message_that_the_server_takes_must_not_be_too_large_for_us(server: Server) -> None:
    server.settings.MAIL_SIZE_LIMIT = 1000
    out = StringIO()

    with pytest.raises(CommandError):
        call_command(
            "postfix_config",
            f"--for={server.name}",
            f"--directory={server.root}",
            f"--postfix={server.etc}",
            "--check",
            stdout=out,
        )

    assert "Postfix accepts larger messages than MAIL_SIZE_LIMIT allows (1000)." in out.getvalue()


def test_the_directory_that_the_container_sees_is_asked_for(server: Server) -> None:
    server.settings.MAIL_POSTFIX_DIRECTORY = "/var/spool/postfix/anonmail"

    with pytest.raises(CommandError, match=f"Set MAIL_POSTFIX_DIRECTORY={server.shared}"):
        server.command()


@pytest.mark.parametrize("name", ["docker-mailserver", "mailu"])
def test_a_copy_of_the_containers_main_cf_is_asked_for(
    name: str, root: Path, settings: Settings, db: None
) -> None:
    server = Server(name, root, settings)

    with pytest.raises(CommandError, match="docker compose cp .*:/etc/postfix/main.cf"):
        call_command("postfix_config", f"--for={name}", f"--directory={server.root}")


@pytest.mark.parametrize("options", [[], ["fresh", "--for=mailcow"], ["--for=mailcow", "--milter"]], ids=str)
def test_a_variant_or_a_server_is_named(options: list[str], db: None) -> None:
    with pytest.raises(CommandError):
        call_command("postfix_config", *options)


def test_networks_are_those_of_the_servers_own_settings(tmp_path: Path) -> None:
    (tmp_path / "mailcow.conf").write_text("IPV4_NETWORK=10.9.8\n")
    (tmp_path / "mailu.env").write_text("SUBNET=10.1.0.0/16\n")

    mailcow = SERVERS["mailcow"].reinjection(tmp_path)
    mailu = SERVERS["mailu"].reinjection(tmp_path)

    assert (mailcow.next_hop, mailcow.networks) == ("smtp://10.9.8.253:10026", "10.9.8.1")
    assert (mailu.next_hop, mailu.networks) == ("smtp://127.0.0.1:10026", "10.1.0.1")
