"""The domains that are ours alone, as a table that Postfix reads itself (relay_domains).

A socket map would cost a question to us for each address that Postfix looks at. Postfix's address
resolver looks every ten seconds whether the table has been replaced (trivial-rewrite(8)).
"""

import logging
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from core.addresses import domain_forms
from mail.server.programs import postfix_program

logger = logging.getLogger(__name__)

NAME = "domains"


def table_text(shared: Mapping[str, bool]) -> str:
    """What postmap(1) makes the table of, for our domains and whether each has ordinary mailboxes too."""
    # At our own host's name there are only postmaster and abuse, which the policy service knows.
    alone = {name for name, is_shared in shared.items() if not is_shared}
    if settings.MAIL_HOSTNAME not in shared:
        alone.add(settings.MAIL_HOSTNAME)
    return "".join(f"{form} anonmail\n" for form in domain_forms(sorted(alone)))


class DomainTable:
    """Keeps the table in a directory up to date."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._written: Mapping[str, bool] | None = None
        self._problem = ""

    def is_current(self, shared: Mapping[str, bool]) -> bool:
        """Whether these domains were written."""
        return shared == self._written

    def update(self, shared: Mapping[str, bool]) -> None:
        """Write the table. A problem is logged once; the caller tries again."""
        try:
            self._write(table_text(shared))
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or b""
            problem = f"{type(error).__name__} {said.decode(errors='replace').strip()}".strip()
            if problem != self._problem:
                logger.error("Postfix's table of domains is not written: %s", problem)
                self._problem = problem
            return
        self._written, self._problem = shared, ""

    def _write(self, text: str) -> None:
        source = self.directory / NAME
        if source.is_file() and source.read_text(encoding="utf-8") == text:
            # Another process was quicker.
            return
        with tempfile.TemporaryDirectory(dir=self.directory) as made:
            new = Path(made) / NAME
            new.write_text(text, encoding="utf-8")
            # Postfix's own program, for a path of our own.
            command = [postfix_program("postmap"), str(new)]
            subprocess.run(command, check=True, capture_output=True, timeout=30)  # noqa: S603
            # The text comes last: where it is, its table is too.
            for file in sorted(Path(made).iterdir(), key=lambda file: file.name == NAME):
                # Whatever the umask is: of the group of Postfix, to which the directory belongs.
                file.chmod(0o640)
                file.replace(self.directory / file.name)
