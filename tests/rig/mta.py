"""A throw-away Postfix on free ports, configured by `postfix_config`, and the far end of its mail."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from mail.server.listening import stop_accepting
from tests.rig.ports import free_ports

START_TIMEOUT = 20
# Postfix waits while its main.cf is younger than two seconds.
BACK_DATE = 60
PROGRAMS = Path("/usr/share/postfix")


class Missing(Exception):
    """Postfix, or what it takes to run it, is not on this machine."""


@dataclass(frozen=True)
class Ports:
    """Where everything listens: ports of 127.0.0.1, and a directory of UNIX sockets."""

    smtp: int
    reinjection: int
    sink: int
    door: int
    shared: Path

    @classmethod
    def free(cls, queue: Path) -> "Ports":
        """Free ports, and a directory in an instance's queue directory. Raises Missing."""
        shared = queue / "anonmail"
        shared.mkdir(parents=True)
        try:
            # What is made in it belongs to its group.
            shutil.chown(shared, group="postfix")
        except LookupError as error:
            raise Missing("Postfix is not installed (Debian: apt install postfix postfix-pcre)") from error
        shared.chmod(0o2750)
        return cls(*free_ports(4), shared)

    def settings(self) -> dict[str, Any]:
        """Anonmail's settings for them."""
        return {
            "MAIL_HOSTNAME": "mx.example.com",
            "MAIL_LISTEN": f"127.0.0.1:{self.door}",
            "MAIL_POSTFIX_DIRECTORY": str(self.shared),
            **{
                f"MAIL_{name.upper()}_LISTEN": f"unix:{self.shared / name}"
                for name in ("lmtp", "policy", "socketmap", "milter")
            },
            "MAIL_SUBMISSION_LISTEN": "",
            "MAIL_NEXT_HOP": f"smtp://127.0.0.1:{self.reinjection}",
        }


class Postfix:
    """One instance: its directory, its programs, its queue."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log" / "maillog"

    def command(self, *words: str, check: bool = True) -> str:
        """Run a program of Postfix's for this instance and return what it printed."""
        program, *rest = words
        done = subprocess.run(
            [program, "-c", str(self.directory), *rest],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def queue(self) -> list[dict[str, Any]]:
        """The messages that wait, as postqueue -j writes them."""
        return [json.loads(line) for line in self.command("postqueue", "-j").splitlines()]

    def start(self) -> None:
        """Start it, unless it runs. What is left of one that was killed may hold its lock for a moment."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.command("postfix", "status")
                return
            except RuntimeError:
                self.command("postfix", "start", check=time.monotonic() > deadline)
                time.sleep(0.1)

    def kill(self) -> None:
        """End all of its processes in an instant."""
        queue = Path(self.command("postconf", "-h", "queue_directory").strip())
        master = int((queue / "pid" / "master.pid").read_text())
        # Stopped, it begins no other one while its children are read, and replaces none that ends.
        os.kill(master, signal.SIGSTOP)
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for process in (master, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def flush(self) -> None:
        """Try now to deliver what waits. A queue manager that is too busy to hear it tries anyway, soon."""
        self.command("postqueue", "-f", check=False)

    def empty(self) -> None:
        """Throw away what waits."""
        self.command("postsuper", "-d", "ALL")

    def wait_until_idle(self, timeout: float = 120, *, flush: bool = False) -> None:
        """Wait until nothing waits any more."""
        deadline = time.monotonic() + timeout
        while self.queue():
            if time.monotonic() > deadline:
                raise AssertionError(f"mail waits still: {self.queue()[:3]}")
            if flush:
                self.flush()
            time.sleep(0.1)


def install(
    directory: Path,
    main_cf: str,
    services: str,
    ports: Ports,
    more: Mapping[str, str],
    smtpd: Mapping[str, str],
) -> None:
    """Write an instance: the main.cf given, Debian's master.cf with these services, paths of its own.

    `more`: parameters that win over the main.cf's. `smtpd`: those of the public SMTP service alone.
    Raises Missing.
    """
    if shutil.which("postfix") is None or not (PROGRAMS / "master.cf.dist").is_file():
        raise Missing("Postfix is not installed (Debian: apt install postfix postfix-pcre)")
    if os.geteuid() != 0:
        raise Missing("Postfix can only be started by root")
    for name in ("queue", "data", "log"):
        (directory / name).mkdir(exist_ok=True)
    shutil.chown(directory / "data", "postfix")
    master = []
    for line in (PROGRAMS / "master.cf.dist").read_text().splitlines():
        words = line.split()
        if line[:1].isspace() or not words or line.startswith("#") or words[-1] == "pipe":
            continue
        if words[:2] == ["smtp", "inet"]:
            words[0] = f"127.0.0.1:{ports.smtp}"
            words += [f"-o {name}={value}" for name, value in smtpd.items()]
        master.append(" ".join(words))
    (directory / "master.cf").write_text("\n".join(master) + "\n" + services)
    own = {
        "queue_directory": str(directory / "queue"),
        "data_directory": str(directory / "data"),
        "maillog_file": str(directory / "log" / "maillog"),
        "maillog_file_prefixes": str(directory),
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "relayhost": f"[127.0.0.1]:{ports.sink}",
        "smtp_tls_security_level": "none",
        "disable_dns_lookups": "yes",
        "smtpd_error_sleep_time": "0",
        "queue_run_delay": "1s",
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s",
        "smtpd_peername_lookup": "no",
        # Tests are on this machine, and say that they come from elsewhere: this machine may relay.
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtp_host_lookup": "native",
        "lmtp_host_lookup": "native",
        **more,
    }
    written = [line for line in main_cf.splitlines() if line.partition(" =")[0] not in own]
    main = directory / "main.cf"
    main.write_text("\n".join(written) + "\n" + "".join(f"{name} = {value}\n" for name, value in own.items()))
    for name in ("dynamicmaps.cf", "postfix-files"):
        shutil.copy(Path("/etc/postfix") / name, directory / name)
    for name in ("dynamicmaps.cf.d", "postfix-files.d"):
        if (Path("/etc/postfix") / name).is_dir():
            shutil.copytree(Path("/etc/postfix") / name, directory / name, dirs_exist_ok=True)
    back_date(directory)


def back_date(directory: Path) -> None:
    """Make an instance's main.cf old enough to be read at once."""
    past = time.time() - BACK_DATE
    os.utime(directory / "main.cf", (past, past))


@contextmanager
def started(directory: Path, ports: Ports) -> Iterator[Postfix]:
    """The instance in the directory, running while the block does."""
    postfix = Postfix(directory)
    postfix.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", ports.smtp)) == 0:
                    break
            if time.monotonic() > deadline:
                raise RuntimeError(f"Postfix did not start:\n{postfix.log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield postfix
    finally:
        postfix.command("postfix", "stop", check=False)


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that the user postfix can enter, gone after the block."""
    made = Path(tempfile.mkdtemp(prefix="anonmail-postfix-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@dataclass(frozen=True)
class Arrived:
    """One message at the far end."""

    sender: str
    recipient: str
    content: bytes


@dataclass
class Sink:
    """The far end: takes everything, or answers a recipient as it is told."""

    refusals: dict[str, str] = field(default_factory=dict)
    arrived: list[Arrived] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if refusal := self.refusals.get(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.original_content or b""
        sender = "" if envelope.mail_from in {None, "<>"} else envelope.mail_from or ""
        self.arrived += [Arrived(sender, recipient, content) for recipient in envelope.rcpt_tos]
        return "250 OK"

    def wait_for(self, number: int, timeout: float = 60) -> list[Arrived]:
        """The messages that arrived, once there are so many."""
        deadline = time.monotonic() + timeout
        while len(self.arrived) < number:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.arrived)} of {number} messages arrived")
            time.sleep(0.02)
        return list(self.arrived)


class _FarEnd(SMTP):
    line_length_limit = 64 * 1024 * 1024


@contextmanager
def far_end(sink: Sink, port: int) -> Iterator[None]:
    """Listen for the sink in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ends: list[SMTP] = []

    def make() -> SMTP:
        end = _FarEnd(
            sink, data_size_limit=64 * 1024 * 1024, enable_SMTPUTF8=True, hostname="far.test", loop=loop
        )
        ends.append(end)
        return end

    async def listen() -> asyncio.Server:
        return await loop.create_server(make, "127.0.0.1", port)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    try:
        yield
    finally:

        async def close() -> None:
            await stop_accepting([server])
            # Postfix keeps its connections for the next message.
            for end in ends:
                if isinstance(end.transport, asyncio.WriteTransport):
                    end.transport.abort()
            sessions = asyncio.all_tasks(loop) - {asyncio.current_task()}
            for session in sessions:
                session.cancel()
            await asyncio.gather(*sessions, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
