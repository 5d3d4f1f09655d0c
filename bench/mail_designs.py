"""The ways of mail through this machine that bench.mail measures, each ready for bursts."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import rig
from bench.cpu_time import cpu_of_tree
from bench.mail_traffic import (
    DOMAIN,
    HIDING_DOMAIN,
    PATIENCE,
    replying,
    sink,
    source,
)
from bench.replies import AUTHSERV_ID
from tests.rig import mta
from tests.rig.mail_process import is_soon
from tests.rig.mta import Ports, Postfix

FAR = "far.test"
LARGE_OCTETS, LARGE_MESSAGES = 20_000_000, 5
COMPONENTS = ("postfix", "python", "postgresql", "load")
BARE = "import django; django.setup(); from bench.bare_doors import serve; serve()"


@dataclass
class Bench:
    """What every design stands on."""

    directory: Path
    env: dict[str, str]
    messages: int
    processes: int
    postmaster: int
    # Who may write to which reverse address
    writers: list[tuple[str, str]]


@dataclass
class Design:
    """One way of mail through this machine, ready for bursts."""

    port: int
    roots: dict[str, int]
    postfix: Postfix | None = None
    policy: str = ""
    # Sends so many messages to the port; the CPU seconds that took. `domain`: of the aliases that get them.
    send: Callable[[int, int], float] = source
    domain: str = DOMAIN
    bursts: list[dict[str, Any]] = field(default_factory=list)

    def burst(self, messages: int) -> dict[str, Any]:
        """Messages per second, from the first one sent until the queue is empty, and CPU ms a message."""
        before = self._cpu()
        began = time.perf_counter()
        sent = self.send(self.port, messages)
        self._wait_until_idle()
        seconds = time.perf_counter() - began
        used = {name: after - before[name] for name, after in self._cpu().items()}
        used["load"] += sent
        cpu = {name: round(used.get(name, 0.0) / messages * 1000, 3) for name in COMPONENTS}
        return {"rate": messages / seconds, "cpu_ms": cpu | {"total": round(sum(cpu.values()), 3)}}

    def large_messages(self) -> None:
        """A few messages of 20 MB, one after another."""
        source(self.port, LARGE_MESSAGES, LARGE_OCTETS, 1, self.domain or DOMAIN)
        self._wait_until_idle()

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_of_tree(root) for name, root in self.roots.items()}

    def _wait_until_idle(self) -> None:
        if self.postfix is None:
            return
        queue = self.postfix.directory / "queue"
        deadline = time.monotonic() + PATIENCE
        while any(
            files
            for name in ("maildrop", "incoming", "active", "deferred")
            for _path, _folders, files in os.walk(queue / name)
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("the queue does not get empty")
            time.sleep(0.01)


@contextmanager
def mail_server(bench: Bench, ports: Ports, *, is_bare: bool, **more: str) -> Iterator[int]:
    """The process id of a running `manage.py mailserver`; of one without rules if it `is_bare`."""
    env = {
        **bench.env,
        **{name: str(value) for name, value in ports.settings().items()},
        "MAIL_PROCESSES": str(bench.processes),
        "MAIL_UNKNOWN_PER_CLIENT": "0",
        "MAIL_UNKNOWN_PER_DAY": "0",
        "MAIL_AUTHSERV_IDS": AUTHSERV_ID,
        "REPLIES_PER_DAY": "1000000",
        "CONTACTS_PER_DAY": "1000000",
        **more,
    }
    command = [sys.executable, *(["-c", BARE] if is_bare else ["manage.py", "mailserver"])]
    server = subprocess.Popen(command, cwd=rig.ROOT, env=env, start_new_session=True)
    try:
        rig.wait_for(ports.door, server)
        yield server.pid
    finally:
        rig.stop(server)


def with_postfix(
    bench: Bench,
    stack: ExitStack,
    *,
    variant: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
    hop: str | None = "",
    is_bare: bool = False,
) -> Design:
    """A Postfix that `postfix_config` has configured, and its far end. Anonmail's next hop is `hop`, or the
    re-injection if that is empty; None for no Anonmail."""
    directory = stack.enter_context(mta.directory())
    ports = Ports.free(directory / "queue")
    written = directory / "written"
    command = ["manage.py", "postfix_config", "fresh", "--directory", str(written)]
    command += ["--reinjection", f"127.0.0.1:{ports.reinjection}", *variant]
    rig.run(command, bench.env | {name: str(value) for name, value in ports.settings().items()})
    main_cf, master_cf = ((written / name).read_text() for name in ("main.cf", "master.cf"))
    # As chrooted services see it: `postfix_config` knows only the usual queue directory.
    main_cf = main_cf.replace(f"unix:{directory / 'queue'}/", "unix:")
    mta.install(directory, main_cf, master_cf, ports, more or {}, {})
    roots = {"load": stack.enter_context(sink(ports.sink))}
    if hop is not None:
        roots["postgresql"] = bench.postmaster
        settings = {"MAIL_CONFIG": str(directory)}
        settings |= {"MAIL_NEXT_HOP": hop.format(sink=ports.sink)} if hop else {}
        roots["python"] = stack.enter_context(mail_server(bench, ports, is_bare=is_bare, **settings))
        if not is_soon((ports.shared / "domains").exists):
            raise RuntimeError("the mail server wrote no table of domains")
    running = stack.enter_context(mta.started(directory, ports))
    roots["postfix"] = int((directory / "queue/pid/master.pid").read_text())
    policy = "" if hop is None else str(ports.settings()["MAIL_POLICY_LISTEN"])
    return Design(ports.smtp, roots, running, policy)


def static(bench: Bench, stack: ExitStack) -> Design:
    """The same Postfix with all aliases in a file: one queue pass, no question to anybody."""
    aliases = bench.directory / "static"
    with aliases.open("w") as file:
        for number in range(int(bench.env["BENCH_ALIASES"])):
            file.write(f"{number + 1}n@{DOMAIN} user{number % rig.USERS}@{FAR}\n")
    # A new machine has no main.cf, without which postmap does nothing.
    (bench.directory / "main.cf").touch()
    configuration = {**os.environ, "MAIL_CONFIG": str(bench.directory)}
    subprocess.run(["postmap", f"hash:{aliases}"], check=True, env=configuration)
    bench.directory.chmod(0o755)
    more = {
        "relay_domains": "",
        "virtual_alias_domains": DOMAIN,
        "virtual_alias_maps": f"hash:{aliases}",
        "smtpd_recipient_restrictions": "reject_non_fqdn_recipient",
        "relay_transport": "relay",
    }
    return with_postfix(bench, stack, more=more, hop=None)


def alone(bench: Bench, stack: ExitStack, *, is_bare: bool = False) -> Design:
    """The mail server without Postfix: SMTP in, SMTP out."""
    ports = Ports.free(stack.enter_context(mta.directory()) / "queue")
    roots = {"load": stack.enter_context(sink(ports.sink)), "postgresql": bench.postmaster}
    settings = {"MAIL_NEXT_HOP": f"smtp://127.0.0.1:{ports.sink}", "MAIL_POSTFIX_DIRECTORY": ""}
    roots["python"] = stack.enter_context(mail_server(bench, ports, is_bare=is_bare, **settings))
    return Design(ports.door, roots)


# Anonmail behind Postfix's queue, to which it hands everything back, or with a next hop of its own; or asked
# by Postfix before that queues a message.
reinjecting = with_postfix
with_smarthost = partial(with_postfix, hop="smtp://127.0.0.1:{sink}")
with_milter = partial(with_postfix, variant=["--milter"])


def hiding(design: Design) -> Design:
    """The same for aliases that hide their owners: with reverse addresses, and signed."""
    return replace(design, send=partial(source, domain=HIDING_DOMAIN), domain=HIDING_DOMAIN)


def with_replies(bench: Bench, design: Design) -> Design:
    """The same for what their owners write: cleaned, and signed."""
    return replace(design, send=partial(replying, bench.writers), domain="")


STATIC = "static file"
DESIGNS: dict[str, Callable[[Bench, ExitStack], Design]] = {
    STATIC: static,
    "LMTP, re-injection": reinjecting,
    "the same, hide me": lambda bench, stack: hiding(reinjecting(bench, stack)),
    "the same, replies": lambda bench, stack: with_replies(bench, reinjecting(bench, stack)),
    "LMTP, smarthost": with_smarthost,
    "milter": with_milter,
    "mail server alone": alone,
    "alone, hide me": lambda bench, stack: hiding(alone(bench, stack)),
    "alone, replies": lambda bench, stack: with_replies(bench, alone(bench, stack)),
    "LMTP, re-injection, no rules": partial(reinjecting, is_bare=True),
    "LMTP, smarthost, no rules": partial(with_smarthost, is_bare=True),
    "milter, no rules": partial(with_milter, is_bare=True),
    "mail server alone, no rules": partial(alone, is_bare=True),
}
# What each is compared with beside the static file: the same doors without rules.
DOORS = {name.removesuffix(", no rules"): name for name in DESIGNS if name.endswith(", no rules")}
DOORS |= dict.fromkeys(("the same, hide me", "the same, replies"), DOORS["LMTP, re-injection"])
DOORS |= dict.fromkeys(("alone, hide me", "alone, replies"), DOORS["mail server alone"])
