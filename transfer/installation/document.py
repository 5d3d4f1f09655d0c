"""What the document of a whole installation is."""

from typing import Any

from django.db import models

from accounts.models import User
from domains.models import Domain

FORMAT = "anonmail-config"
VERSION = 1
BATCH = 2000

# What a related object is called in the document.
NATURAL_KEYS: dict[type[models.Model], str] = {User: "email", Domain: "name"}

Row = dict[str, Any]


class ConfigError(Exception):
    """The document cannot be imported. `problems` has a sentence with its place for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
