"""Measures the pages against an older revision: `python -m bench.pages REVISION`.

Both are served by their own code from a database with the same aliases, and Chromium loads each page with
an empty cache, in turns. Bytes are counted as sent, with headers.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from bench import rig
from bench.create import say

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Signed out, and in.
PAGES = {
    "sign-in": "/accounts/login/",
    "list": "/aliases/",
    "an alias": "/aliases/{alias}/",
    "new alias": "/aliases/new/",
    "account": "/account/",
}
FILL = """
import json, sys
import django
django.setup()
from django.test import Client
from accounts.models import User
from aliases.issuing import issue
from aliases.models import Alias
from domains.models import Domain
from mail.models import Activity, Event
Domain.objects.update_or_create(name="example.com", defaults={"anonmail_enabled": True})
user = User.objects.create_user("alice@example.com", "alice-password-1")
for number in range(int(sys.argv[1])):
    alias = issue(owner=user, hostname=f"site{number}.test", note=f"Account at site{number}.test")
    Activity.objects.create(alias=alias, event=Event.FORWARD, sender=f"hello@site{number}.test")
Alias.objects.update(forwards=1)
client = Client()
client.force_login(user)
print(json.dumps({"session": client.cookies["sessionid"].value, "alias": alias.pk}))
"""


@dataclass
class Site:
    """A revision that is being served."""

    url: str
    session: str
    alias: int
    loads: dict[str, list["Load"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """What one load of a page took."""

    requests: int
    octets: int
    first_paint_ms: float


@contextmanager
def checked_out(revision: str, directory: Path) -> Iterator[Path]:
    """The revision's files, in a worktree that is gone after the block."""
    tree = directory / "tree"
    subprocess.run(["git", "worktree", "add", "--detach", tree, revision], cwd=rig.ROOT, check=True)
    try:
        yield tree
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=rig.ROOT, check=True)


@contextmanager
def served(root: Path, directory: Path, aliases: int) -> Iterator[Site]:
    """The site of these files, over a new database, during the block."""
    directory.mkdir()
    env = rig.environment(directory, f"sqlite:///{directory / 'pages.sqlite3'}")
    rig.run(["manage.py", "prepare"], env, root=root)
    found = json.loads(rig.run(["-c", FILL, str(aliases)], env, root=root).splitlines()[-1])
    with rig.gunicorn("anonmail_site.wsgi", env, root=root) as port:
        yield Site(f"http://localhost:{port}", found["session"], found["alias"])


def load(browser: Browser, site: Site, name: str) -> Load:
    """Load a page in a browser that has never seen the site."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    if name != "sign-in":
        context.add_cookies([{"name": "sessionid", "value": site.session, "url": site.url}])
    page = context.new_page()
    network = context.new_cdp_session(page)
    octets: list[int] = []
    network.on("Network.loadingFinished", lambda event: octets.append(int(event["encodedDataLength"])))
    network.send("Network.enable")
    path = PAGES[name].format(alias=site.alias)
    answer = page.goto(site.url + path, wait_until="networkidle")
    if answer is None or answer.status != 200 or not page.url.endswith(path):
        raise RuntimeError(f"{path}: {answer and answer.status} {page.url}")
    paint = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)[0]"
    )
    context.close()
    return Load(len(octets), sum(octets), float(paint))


def median(loads: Sequence[Load], what: str) -> float:
    return statistics.median(getattr(each, what) for each in loads)


def change(before: float, after: float) -> str:
    return f"{before:,.0f} → {after:,.0f} ({(after - before) / before:+.0%})"


def table(before: Site, after: Site) -> str:
    """The medians of all loads, in Markdown."""
    rows = ["| page | requests | bytes as sent | first paint, ms |", "|---|---|---|---|"]
    for name in PAGES:
        cells = [
            change(median(before.loads[name], what), median(after.loads[name], what))
            for what in ("requests", "octets", "first_paint_ms")
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="of this repository, to compare with")
    parser.add_argument("--loads", type=int, default=15, help="of each page and revision (default 15)")
    parser.add_argument("--aliases", type=int, default=200, help="of the reader (default 200)")
    given = parser.parse_args(arguments)
    executable = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if executable is None:
        print("SKIPPED: Chromium is missing (Debian: apt install chromium).")
        return 1
    rig.stop_on_signals()
    try:
        with ExitStack() as stack:
            directory = stack.enter_context(rig.temporary_directory())
            tree = stack.enter_context(checked_out(given.revision, directory))
            before = stack.enter_context(served(tree, directory / "before", given.aliases))
            after = stack.enter_context(served(rig.ROOT, directory / "after", given.aliases))
            playwright = stack.enter_context(sync_playwright())
            flags = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=executable, args=flags)
            for number in range(given.loads + 1):
                for name in PAGES:
                    # Whoever comes second finds a warmer machine: they take turns at that too.
                    for site in (before, after) if number % 2 else (after, before):
                        found = load(browser, site, name)
                        # The first load warms the server up.
                        if number:
                            site.loads.setdefault(name, []).append(found)
                say(f"{number} of {given.loads} loads")
            browser.close()
            print(table(before, after))
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
