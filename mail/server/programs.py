"""Postfix's own programs."""

import os
import shutil

# They are in a directory that is in root's PATH alone.
_ADMINISTRATORS = "/usr/sbin:/usr/local/sbin"


def postfix_program(name: str) -> str:
    """The path of postconf, postmap, … Raises FileNotFoundError if there is none."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_ADMINISTRATORS}"
    if found := shutil.which(name, path=path):
        return found
    raise FileNotFoundError(f"{name} is neither in PATH nor in {_ADMINISTRATORS}")
