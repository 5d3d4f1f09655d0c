"""`anonmail run` does what `make run` does in a checkout."""

from anonmail_site.management.commands.runall import Command

__all__ = ["Command"]
