"""Files that are written whole, and why one could not be used, in a sentence for whoever runs the server."""

import errno
import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def write_new(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises OSError; FileExistsError if there is one already that
    is not empty."""
    with _written_beside(path, text) as whole:
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()
        os.link(whole, path)


def write_over(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in the place of the one that is there. Raises OSError; what
    was there is there then."""
    with _written_beside(path, text) as whole:
        whole.replace(path)


@contextmanager
def _written_beside(path: Path, text: str) -> Iterator[Path]:
    """The text in a file of another name, on the disk: on a full one, writing under the name itself would
    leave nothing, or half of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
