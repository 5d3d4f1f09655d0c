"""Why a file could not be used, in a sentence for whoever runs the server."""

import errno
import os
import pwd
from pathlib import Path


def why(error: OSError, path: Path | str = "") -> str:
    """The path (by default, of what was to be used), the reason, and, if access was denied, whose it is."""
    place = Path(str(error.filename or path))
    sentence = f"{place}: {error.strerror or error}."
    if error.errno in {errno.EACCES, errno.EPERM}:
        found, owner = owner_of(place)
        if owner != user_name():
            sentence += f" {found} belongs to {owner}, and this process runs as {user_name()}."
    return sentence


def owner_of(path: Path) -> tuple[Path, str]:
    """The path, or the nearest directory above it that there is and this process can see, and whose it is."""
    for place in (path, *path.parents):
        try:
            return place, user_name(place.stat().st_uid)
        except OSError:
            continue
    return Path("/"), user_name(0)


def user_name(number: int | None = None) -> str:
    """The name of a user, by default of this process's, or its number if it has no name."""
    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
