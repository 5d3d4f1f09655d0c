"""The table of our domains that Postfix reads, as the mail server writes it."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from pytest_django import Settings

from mail.server.domain_table import DomainTable, table_text
from tests.conftest import missing


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Path:
    """The directory of the table, where Postfix's programs work."""
    if shutil.which("postmap") is None:
        missing("Postfix")
    settings.MAIL_HOSTNAME = "mx.example.com"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/main.cf").write_text("compatibility_level = 3.6\n")
    os.utime(tmp_path / "etc/main.cf", (0, 0))
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path / "etc"))
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def known(shared: Path, *names: str) -> set[str]:
    """Those names that Postfix finds in the table."""
    asked = subprocess.run(
        ["postmap", "-q", "-", f"hash:{shared}/domains"],
        input="".join(f"{name}\n" for name in names),
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stderr == ""
    return {line.partition("\t")[0] for line in asked.stdout.splitlines()}


def test_postfix_finds_what_is_ours_alone_in_both_forms(shared: Path) -> None:
    names = ("example.com", "EXAMPLE.com", "bücher.example", "xn--bcher-kva.example", "mx.example.com")

    DomainTable(shared).update({"example.com": False, "xn--bcher-kva.example": False, "theirs.test": True})

    assert known(shared, *names, "theirs.test", "sub.example.com", "com") == set(names)


@pytest.mark.parametrize(("is_shared", "expected"), [(True, ""), (False, "mx.example.com anonmail\n")])
def test_our_hosts_name_is_ours_unless_it_has_mailboxes(
    settings: Settings, is_shared: bool, expected: str
) -> None:
    settings.MAIL_HOSTNAME = "mx.example.com"

    assert table_text({"mx.example.com": is_shared}) == expected


def test_the_table_is_never_missing_or_incomplete_while_it_is_written(shared: Path) -> None:
    table = DomainTable(shared)
    many = {f"d{number}.test": False for number in range(2000)}
    table.update(many)
    over = threading.Event()

    def write() -> None:
        for number in range(20):
            table.update(many | {f"new{number}.test": False})
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    found = []
    while not over.is_set():
        found.append(known(shared, *many))
    thread.join()

    assert found
    assert all(names == set(many) for names in found)
    assert sorted(file.name for file in shared.iterdir()) == ["domains", "domains.db"]


def test_one_of_several_processes_writes_it(shared: Path) -> None:
    first, second = DomainTable(shared), DomainTable(shared)
    domains = {"example.com": False}

    first.update(domains)
    before = (shared / "domains.db").stat()
    second.update(domains)

    assert (shared / "domains.db").stat() == before
    assert first.is_current(domains)
    assert second.is_current(domains)


def test_a_table_that_cannot_be_written_stays_and_is_told_once(
    shared: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = DomainTable(shared)
    table.update({"example.com": False})

    with monkeypatch.context() as patch:
        patch.setenv("MAIL_CONFIG", "/nowhere")
        for _ in range(3):
            table.update({"other.test": False})
        assert not table.is_current({"other.test": False})
        assert known_by_text(shared) == {"example.com", "mx.example.com"}
    table.update({"other.test": False})

    (problem,) = [record.message for record in caplog.records]
    assert problem.startswith(
        "Postfix's table of domains is not written: CalledProcessError postmap: fatal: "
    )
    assert "/nowhere/main.cf" in problem
    assert table.is_current({"other.test": False})
    assert known(shared, "example.com", "other.test") == {"other.test"}


def known_by_text(shared: Path) -> set[str]:
    return {line.split()[0] for line in (shared / "domains").read_text().splitlines()}
