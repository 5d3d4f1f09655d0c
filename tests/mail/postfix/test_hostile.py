"""Attacks on what `postfix_config` reads and writes: options, paths, other people's files."""

import errno
import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from domains.models import Domain
from mail.postfix.containers import BEGIN, END, SERVERS
from mail.postfix.running import Running, parameters_of
from tests.conftest import missing
from tests.mail.postfix.servers import main_cf
from tests.rig.mta import Ports, directory

# In one round: what Postfix's programs say does not depend on our database.
pytestmark = pytest.mark.postgresql

PAGE = Path(__file__).resolve().parents[3] / "docs/recipes/postfix-dovecot.md"
BLOCK = f"{BEGIN}\nanonmail_old = 1\n{END}\n"


class Place:
    """A Postfix's configuration directory, and what `postfix_config` writes for it."""

    def __init__(self, root: Path) -> None:
        self.etc, self.written = root / "etc", root / "written"
        self.etc.mkdir()
        shutil.copy("/usr/share/postfix/master.cf.dist", self.etc / "master.cf")
        self.main_cf("virtual_mailbox_domains = shared.test\n")

    def main_cf(self, text: str) -> None:
        (self.etc / "main.cf").write_bytes(
            f"compatibility_level = 3.6\n{text}".encode(errors="surrogateescape")
        )
        self.age()

    def age(self) -> None:
        """Postfix's programs wait while a main.cf is younger than two seconds."""
        os.utime(self.etc / "main.cf", (0, 0))

    def command(self, variant: str, *options: str, out: StringIO | None = None) -> str:
        out = out or StringIO()
        where = [f"--directory={self.written}", f"--postfix={self.etc}"]
        call_command("postfix_config", variant, *where, *options, stdout=out, stderr=out)
        return out.getvalue()

    def refusal(self, *command: str) -> str:
        """What is said instead of writing anything."""
        with pytest.raises(CommandError) as refused:
            self.command(*command)
        assert not self.written.exists()
        return str(refused.value)

    def paste(self, commands: str) -> None:
        """Run what a page or a README says, without starting Postfix."""
        lines = "\n".join(line for line in commands.splitlines() if not line.startswith("postfix "))
        done = subprocess.run(["sh", "-e"], input=lines, capture_output=True, text=True, timeout=300, cwd="/")
        assert (done.returncode, done.stderr) == (0, "")
        self.age()

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.etc.iterdir() if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, settings: Settings, db: None) -> Iterator[Place]:
    if shutil.which("postconf") is None:
        missing("Postfix")
    with directory() as made:
        for name, value in Ports.free(made / "queue").settings().items():
            setattr(settings, name, value)
        settings.MAIL_POSTMASTER = "boss@boss.test"
        Domain.objects.create(name="shared.test", is_shared=True)
        Domain.objects.create(name="ours.test", anonmail_enabled=True)
        yield Place(tmp_path)


@pytest.mark.parametrize(
    "option",
    [
        "--reinjection=127.0.0.1:10026 inet n - n - - spawn",
        "--reinjection=127.0.0.1:10026\nsmtp inet n - n - - smtpd",
        "--reinjection=$(reboot):10026",
        "--reinjection=127.0.0.1",
        "--reached-at=mx.test:25;reboot",
        "--reached-at=unix:/run/x",
        "--reached-at=mx.test:0",
        "--clients=$(reboot)",
        "--clients=192.0.2.1/24 reboot",
        "--clients=static:all",
        "--clients=0.0.0.0/0",
        "--clients=192.0.2.0/24,::/0",
    ],
)
@pytest.mark.parametrize("variant", ["fresh", "existing"])
def test_where_mail_comes_back_is_an_address_and_nothing_else(
    variant: str, option: str, place: Place
) -> None:
    assert place.refusal(variant, option).startswith(option.partition("=")[0])


def test_networks_are_written_as_postfix_reads_them(place: Place) -> None:
    place.command("existing", "--clients=192.0.2.7, 2001:db8::/32 [::1]/128")

    line = "  -o mynetworks=192.0.2.7/32,[2001:db8::]/32,[::1]/128\n"
    assert line in (place.written / "master.cf").read_text()


@pytest.mark.parametrize("bad", ["a b", "a\tb", "a\nmynetworks = 0.0.0.0/0", "a,b", "a{b", "a}", "$a"])
@pytest.mark.parametrize(
    ("variant", "setting", "value"),
    [
        ("fresh", "MAIL_POSTFIX_DIRECTORY", "/srv/{}"),
        ("fresh", "MAIL_TLS_CERTIFICATE", "/srv/{}.pem"),
        ("fresh", "MAIL_TLS_KEY", "/srv/{}.pem"),
        ("existing", "MAIL_LMTP_LISTEN", "unix:/srv/{}/lmtp"),
        ("existing", "MAIL_SOCKETMAP_LISTEN", "unix:/srv/{}/socketmap"),
        ("existing", "MAIL_POLICY_LISTEN", "unix:/srv/{}/policy"),
    ],
)
def test_a_path_that_is_no_word_in_main_cf_is_refused(
    variant: str, setting: str, value: str, bad: str, place: Place, settings: Settings
) -> None:
    settings.MAIL_TLS_CERTIFICATE = "/srv/certificate.pem"
    setattr(settings, setting, value.replace("{}", bad))

    assert setting in place.refusal(variant)


@pytest.mark.parametrize("bad", ["new, old", "{new}", "${new}", "new\nold"])
def test_a_directory_for_tables_that_is_no_word_in_main_cf_is_refused(bad: str, place: Place) -> None:
    place.written = place.written / bad

    assert "--directory" in place.refusal("existing")


@pytest.mark.parametrize("name", ["mx.test; reboot", "mx.test\nmynetworks = 0.0.0.0/0", "$(reboot)", "a b"])
def test_a_host_name_is_a_name(name: str, place: Place, settings: Settings) -> None:
    settings.MAIL_HOSTNAME = name

    assert "MAIL_HOSTNAME" in place.refusal("fresh")


def test_a_directory_with_signs_of_the_shell_is_quoted(place: Place) -> None:
    place.written = place.written / "it's;`here`"
    before = place.files()

    place.command("existing")
    place.paste(_steps(place.written / "README"))

    assert place.files() != before
    assert f"{place.written}/anonmail-shared" in Running(place.etc)["virtual_alias_maps"]


def test_a_postfix_without_ipv4_takes_mail_back_over_ipv6(place: Place) -> None:
    """With a service at an address of the other family, Postfix does not start."""
    place.main_cf("inet_protocols = ipv6\n")

    said = place.refusal("existing", "--reinjection=127.0.0.1:10026")
    place.command("existing")

    assert said == (
        "inet_protocols is ipv6: with a service at 127.0.0.1:10026, Postfix would not start. Use [::1]:10026."
    )
    assert "\n[::1]:10026 inet n - n - - smtpd\n" in (place.written / "master.cf").read_text()
    assert "MAIL_NEXT_HOP=smtp://[::1]:10026" in (place.written / "README").read_text()


def test_a_postfix_without_ipv6_is_not_given_an_address_of_it(place: Place) -> None:
    place.main_cf("inet_protocols = ipv4\n")

    assert "Use 127.0.0.1:10026." in place.refusal("existing", "--reinjection=[::1]:10026")


def test_a_service_for_everybody_is_refused(place: Place) -> None:
    """mynetworks is wide open: an open relay before, and no second one after."""
    place.main_cf("mynetworks = 127.0.0.0/8, 0.0.0.0/0\n")
    public = ["--reinjection=192.0.2.1:10026"]

    assert "everybody could send mail through 192.0.2.1:10026" in place.refusal("existing", *public)

    place.command("existing", *public, "--clients=192.0.2.9")
    assert "-o mynetworks=192.0.2.9/32" in (place.written / "master.cf").read_text()
    place.command("existing")
    assert "-o mynetworks=127.0.0.0/8,[::1]/128" in (place.written / "master.cf").read_text()


HOSTILE = """\
# comment = no
mydomain = site.test
   # a comment in a value
myhostname = mx.$mydomain
mydestination = $myhostname,
# between
\tlocalhost.${mydomain}

   $(mydomain)
myorigin=first.test
virtual_mailbox_domains =
  shared.test
  , theirs.test
own_maps = texthash:/etc/own, regexp:/etc/\udce4\udcf6.pattern
virtual_alias_maps = $own_maps ${own_maps}
myorigin = $mydomain
smtpd_hard_error_limit = ${stress?{1}:{${stress?{2}:{7}}}}
smtpd_banner = $myhostname ESMTP = {not a list
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_main_cf_is_read_as_postfix_reads_it(end: str, place: Place) -> None:
    text = HOSTILE.replace("\n", end)
    place.main_cf(text)

    ours, postfix = parameters_of(text), Running(place.etc)

    for name in (
        "mydestination",
        "myorigin",
        "virtual_mailbox_domains",
        "virtual_alias_maps",
        "smtpd_banner",
    ):
        assert ours.words(name) == postfix.words(name), name
        assert ours.as_written(name).split() == postfix.as_written(name).split(), name
    assert ours.words("mydestination") == ["mx.site.test", "localhost.site.test", "site.test"]


def test_a_main_cf_in_another_encoding_goes_on_in_it(place: Place) -> None:
    place.main_cf(HOSTILE)

    place.command("existing")

    written = (place.written / "main.cf").read_bytes()
    assert b"$own_maps, ${own_maps}" in written
    assert b"pipemap:{regexp:" in written
    assert b"regexp:/etc/\xe4\xf6.pattern" in written


@pytest.mark.parametrize("loop", ["a = $a", "a = $b$b$b$b\nb = $a$a$a$a", "a = " + "$a" * 300])
def test_parameters_that_lead_to_each_other_come_to_an_end(loop: str) -> None:
    assert len(parameters_of(f"{loop}\nmydestination = $a\n")["mydestination"]) < 10_000_000


def test_tables_of_the_sites_own_with_a_name_like_ours_stay(place: Place) -> None:
    theirs = "texthash:/etc/postfix/anonmail-people, texthash:/etc/postfix/anonmail-alias.old"
    place.main_cf(f"virtual_alias_maps = {theirs}\n")

    place.command("existing")

    assert theirs in (place.written / "main.cf").read_text()


def test_a_service_with_options_on_many_lines_is_looked_into(place: Place) -> None:
    with (place.etc / "master.cf").open("a") as file:
        file.write(
            "smtpd pass - - n - - smtpd\n  -o { smtpd_recipient_restrictions =\n    permit }\n# x\n  -v\n"
        )
    place.command("existing")
    place.paste(_steps(place.written / "README"))

    out = StringIO()
    with pytest.raises(CommandError):
        place.command("existing", "--check", out=out)

    assert "master.cf: smtpd/pass/smtpd_recipient_restrictions lacks" in out.getvalue()


def test_a_main_cf_that_cannot_be_read_is_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    (tmp_path / "copy/main.cf").mkdir(parents=True)

    with pytest.raises(CommandError, match=f"^{tmp_path}/copy/main.cf cannot be read or written: Is a dir"):
        call_command(
            "postfix_config",
            "--for=mailu",
            f"--directory={tmp_path}/compose",
            f"--postfix={tmp_path}/copy",
        )


def test_the_page_can_be_followed_twice_and_undone(place: Place) -> None:
    """Word for word, in a directory of its own: every file is what it was, to the octet."""
    place.main_cf(HOSTILE.replace("smtpd_banner", "#"))
    place.written = place.etc / "anonmail"
    blocks = _blocks(place.etc)
    keep, apply, undo = (_one(blocks, text) for text in ("[ -e $file.before", "apply.sh", "cp -p /"))
    before, after = place.files(), []

    for _run in range(2):
        place.paste(keep.partition("cd /srv")[0])
        place.command("existing")
        place.paste((place.written / "apply.sh").read_text())
        after.append(place.files())
    readme = _steps(place.written / "README").splitlines()
    script = (place.written / "apply.sh").read_text().splitlines()[3:]
    place.paste(undo)

    assert after[0] == after[1] != before
    assert place.files() == before
    assert not place.written.exists()
    assert apply.strip() == f"sh {place.written}/apply.sh"
    assert script == readme


def test_a_domain_whose_anonmail_is_turned_off_goes_on_delivering(place: Place) -> None:
    place.command("existing")
    tables = {path.name: path.read_text() for path in place.written.iterdir()}

    Domain.objects.update(anonmail_enabled=False)
    place.command("existing")

    assert {path.name: path.read_text() for path in place.written.iterdir()} == tables
    assert "ours.test" in tables["anonmail-alone"]


class Container:
    """The directory of mailcow's compose file."""

    def __init__(self, root: Path, settings: Settings) -> None:
        kind = SERVERS["mailcow"]
        settings.MAIL_POSTFIX_DIRECTORY = str(kind.shared(root))
        for door in ("LMTP", "POLICY", "SOCKETMAP"):
            setattr(settings, f"MAIL_{door}_LISTEN", f"unix:{kind.shared(root)}/{door.lower()}")
        self.root, self.shared, self.tables = root, kind.shared(root), kind.tables(root)
        self.shared.mkdir(parents=True)
        (self.shared.parent / "main.cf").write_text(main_cf("mailcow"))
        self.extra = self.shared.parent / "extra.cf"

    def command(self) -> None:
        out = StringIO()
        call_command("postfix_config", "--for=mailcow", f"--directory={self.root}", stdout=out, stderr=out)


@pytest.fixture
def container(tmp_path: Path, settings: Settings, db: None) -> Container:
    Domain.objects.create(name="shared.test", is_shared=True)
    return Container(tmp_path, settings)


@pytest.mark.parametrize(
    "theirs", [b"# f\xfcr uns\n", b"a = 1\r\nb = 2\r\n", b"a = 1\n" + BLOCK.encode() + b"b = 2\n"]
)
def test_what_is_theirs_stays_to_the_octet(theirs: bytes, container: Container) -> None:
    container.extra.write_bytes(theirs)

    for _run in range(2):
        container.command()
    written = container.extra.read_bytes()

    assert written.startswith(theirs.replace(BLOCK.encode(), b"") + BEGIN.encode())
    assert written.count(BEGIN.encode()) == written.count(END.encode()) == 1
    assert b"anonmail_old" not in written


@pytest.mark.parametrize(
    "theirs",
    [
        f"a = 1\n{BEGIN}\nours\nb = 2\n",
        f"{END}\na = 1\n",
        f"{BEGIN}\nours\nmine = 1\n{BEGIN}\nours\n{END}\n",
        f"{END}\nmine = 1\n{BEGIN}\n",
    ],
)
def test_nothing_is_removed_where_it_is_not_clear_what_is_ours(theirs: str, container: Container) -> None:
    container.extra.write_text(theirs)

    with pytest.raises(CommandError, match="without the other: remove by hand"):
        container.command()

    assert container.extra.read_text() == theirs


def test_a_full_disk_leaves_a_file_as_it_was(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    container.extra.write_text("mine = 1\n")
    container.extra.chmod(0o600)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CommandError, match="No space left on device"):
            container.command()
    assert container.extra.read_text() == "mine = 1\n"
    assert [path.name for path in container.extra.parent.iterdir() if path.name.startswith(".")] == []

    container.command()
    assert container.extra.read_text().startswith("mine = 1\n")
    assert container.extra.stat().st_mode & 0o777 == 0o600


def test_root_writes_nothing_where_anonmail_could_lead_it_astray(container: Container) -> None:
    """Anonmail's user owns the directory of the sockets: a link there would be followed."""
    victim = container.root / "passwd"
    victim.write_text("root\n")
    for name in ("README", "anonmail-policy", "anonmail-transport"):
        (container.shared / name).symlink_to(victim)

    container.command()

    assert victim.read_text() == "root\n"
    assert (container.tables / "anonmail-transport").is_file()


@pytest.mark.parametrize(
    ("file", "line", "server"),
    [
        ("mailcow.conf", "IPV4_NETWORK=172.22", "mailcow"),
        ("mailcow.conf", "IPV4_NETWORK=$(reboot)", "mailcow"),
        ("mailu.env", "SUBNET=fd00::/64", "mailu"),
        ("mailu.env", "SUBNET=;reboot", "mailu"),
    ],
)
def test_a_network_that_is_none_is_named(
    file: str, line: str, server: str, tmp_path: Path, settings: Settings, db: None
) -> None:
    (tmp_path / file).write_text(f"{line}\n")
    (tmp_path / "main.cf").write_text(main_cf(server))
    (tmp_path / "data/conf/postfix").mkdir(parents=True)
    (tmp_path / "data/conf/postfix/main.cf").write_text(main_cf(server))

    with pytest.raises(CommandError, match=f"{line.partition('=')[0]} in {file} is not understood"):
        call_command("postfix_config", f"--for={server}", f"--directory={tmp_path}", f"--postfix={tmp_path}")


def _steps(readme: Path) -> str:
    """The commands of step 2."""
    second = readme.read_text().partition("2. Configure")[2].partition("3. Check")[0]
    return "\n".join(line.strip() for line in second.splitlines() if line.startswith(" " * 7))


def _blocks(etc: Path) -> list[str]:
    """The page's commands, for that configuration directory."""
    found = re.findall(r"(?m)(?:^(?: {7}| {4})\S.*\n)+", PAGE.read_text())
    return [
        textwrap.dedent(block).replace("/etc/postfix", str(etc)).replace("postconf ", f"postconf -c {etc} ")
        for block in found
    ]


def _one(blocks: list[str], text: str) -> str:
    (block,) = [block for block in blocks if text in block]
    return block
