"""The commands that `postfix_config` tells the administrator to paste, pasted."""

import os
import shutil
import stat
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from domains.models import Domain
from mail.postfix.running import Running
from tests.conftest import missing
from tests.rig.mta import Ports, directory

# In one round: what Postfix's programs do does not depend on our database.
pytestmark = pytest.mark.postgresql


@pytest.fixture
def place(tmp_path: Path, settings: Settings, db: None) -> Path:
    """A directory for a Postfix's configuration, as Debian's “No configuration” leaves it: no main.cf."""
    if shutil.which("postconf") is None:
        missing("Postfix")
    with directory() as made:
        for name, value in Ports.free(made / "queue").settings().items():
            setattr(settings, name, value)
        settings.MAIL_POSTMASTER = "boss@boss.test"
        etc = tmp_path / "etc"
        etc.mkdir()
        shutil.copy("/usr/share/postfix/master.cf.dist", etc / "master.cf")
        yield tmp_path


def write(*options: str) -> str:
    out = StringIO()
    call_command("postfix_config", *options, stdout=out, stderr=out)
    return out.getvalue()


def steps(readme: Path) -> tuple[list[str], str]:
    """The commands of step 2, and the line of step 3."""
    text = readme.read_text()
    second, third = text.partition("2. Configure")[2].split("3. Check")
    commands = [line.strip() for line in second.splitlines() if line.startswith(" " * 7)]
    return commands, next(line.strip() for line in third.splitlines() if line.startswith(" " * 7))


def paste(commands: list[str], etc: Path) -> None:
    """Run the commands, with the start of Postfix left out."""
    for path in etc.glob("main.cf"):
        # Postfix's programs wait while a main.cf is younger than two seconds.
        os.utime(path, (0, 0))
    lines = [line for line in commands if not line.startswith("postfix ")]
    assert len(lines) == len(commands) - 1
    done = subprocess.run(
        ["sh", "-e"],
        input="umask 077\n" + "\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_postfix_without_main_cf_gets_one_that_every_program_can_read(place: Path) -> None:
    etc = place / "etc"

    write("fresh", f"--directory={place}/new", f"--postfix={etc}")
    commands, _check = steps(place / "new/README")
    paste(commands, etc)

    assert stat.S_IMODE((etc / "main.cf").stat().st_mode) == 0o644
    assert (etc / "main.cf").read_text() == (place / "new/main.cf").read_text()
    assert not (etc / "main.cf.before-anonmail").exists()
    assert Running(etc)["mydestination"] == ""


def test_the_main_cf_from_before_is_kept_by_every_later_run(place: Path) -> None:
    etc = place / "etc"
    (etc / "main.cf").write_text("compatibility_level = 3.6\nmydestination = before.test\n")

    for _run in range(2):
        write("fresh", f"--directory={place}/new", f"--postfix={etc}")
        paste(steps(place / "new/README")[0], etc)

    assert "before.test" in (etc / "main.cf.before-anonmail").read_text()
    assert "before.test" not in (etc / "main.cf").read_text()


@pytest.mark.parametrize("variant", ["fresh", "existing"])
def test_the_readme_is_about_the_postfix_and_the_directory_that_were_named(variant: str, place: Path) -> None:
    etc = place / "etc"
    (etc / "main.cf").write_text("compatibility_level = 3.6\n")
    os.utime(etc / "main.cf", (0, 0))
    given = [f"--directory={place}/new", f"--postfix={etc}", "--reinjection=127.0.0.1:20026"]

    write(variant, *given)
    commands, check = steps(place / "new/README")
    paste(commands, etc)

    assert check == (
        f"manage.py postfix_config {variant} --directory {place}/new --postfix {etc}"
        " --reinjection 127.0.0.1:20026 --check"
    )
    assert Running(etc)["disable_vrfy_command"] == "yes"
    assert ["127.0.0.1:20026", "inet"] in [service[:2] for service in Running(etc).services]


def test_a_later_run_with_another_directory_replaces_the_entries_of_the_earlier_one(place: Path) -> None:
    etc = place / "etc"
    (etc / "main.cf").write_text("compatibility_level = 3.6\nvirtual_mailbox_domains = shared.test\n")
    Domain.objects.create(name="shared.test", is_shared=True)
    Domain.objects.create(name="ours.test")

    for name in ("first", "second"):
        os.utime(etc / "main.cf", (0, 0))
        write("existing", f"--directory={place}/{name}", f"--postfix={etc}")
        paste(steps(place / f"{name}/README")[0], etc)

    main_cf = (etc / "main.cf").read_text()
    assert f"{place}/second/anonmail-shared" in main_cf
    assert f"{place}/first" not in main_cf


def test_a_postfix_that_rewrites_senders_leaves_our_return_paths_alone(place: Path) -> None:
    etc = place / "etc"
    (etc / "main.cf").write_text("compatibility_level = 3.6\nsender_canonical_maps = tcp:localhost:10001\n")

    for _run in range(2):
        os.utime(etc / "main.cf", (0, 0))
        write("existing", f"--directory={place}/new", f"--postfix={etc}")
        paste(steps(place / "new/README")[0], etc)

    running = Running(etc)
    assert running.overrides["127.0.0.1:10026/inet/cleanup_service_name"] == "anonmail-cleanup"
    assert running.overrides["anonmail-cleanup/unix/sender_canonical_maps"] == ""
    assert len([service for service in running.services if service[0] == "anonmail-cleanup"]) == 1


@pytest.mark.parametrize("listen", ["0.0.0.0:10026", "[::]:10026", "10026"])
def test_where_postfix_listens_does_not_say_how_we_reach_it(listen: str, place: Path) -> None:
    new = place / "new"
    with pytest.raises(CommandError, match="add --reached-at"):
        write("fresh", f"--directory={new}", f"--reinjection={listen}")

    write(
        "fresh",
        f"--directory={new}",
        f"--reinjection={listen}",
        "--reached-at=mx.site.test:10026",
        "--clients=192.0.2.0/24",
    )

    assert "       MAIL_NEXT_HOP=smtp://mx.site.test:10026\n" in (new / "README").read_text()
    master_cf = (new / "master.cf").read_text()
    assert f"\n{listen} inet n - n - - smtpd\n" in master_cf
    assert "\n  -o mynetworks=192.0.2.0/24\n" in master_cf


@pytest.mark.parametrize("origin", ["ours.test", "/etc/mailname"])
def test_an_origin_that_is_ours_alone_is_named(origin: str, place: Path) -> None:
    etc = place / "etc"
    name = place / "mailname"
    name.write_text("ours.test\n")
    origin = origin.replace("/etc/mailname", str(name))
    (etc / "main.cf").write_text(f"compatibility_level = 3.6\nmyorigin = {origin}\n")
    os.utime(etc / "main.cf", (0, 0))
    Domain.objects.create(name="ours.test")

    said = write("existing", f"--directory={place}/new", f"--postfix={etc}")

    assert "myorigin is ours.test, which is Anonmail's alone" in said
    assert "Set myorigin = $myhostname." in (place / "new/README").read_text().replace("\n", " ")
