"""A program that encrypts: a key and a content in, the encrypted content out, all through pipes.

It knows nothing of this site, so that it starts in a few milliseconds. What it is given is never on a disk.
"""

import sys

# Its exit status if the library refuses the key.
REFUSED = 3


def main() -> int:
    """Read four octets with the key's length, the key, and the content; write the encrypted content."""
    import pysequoia

    given = sys.stdin.buffer
    key = given.read(int.from_bytes(given.read(4)))
    content = given.read()
    try:
        encrypted = pysequoia.encrypt(content, [pysequoia.Cert.from_bytes(key)])
    except MemoryError:
        # That is not the key's fault: any other status says so.
        raise
    except BaseException as error:
        # The library may panic, which is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return REFUSED
        raise
    del content
    sys.stdout.buffer.write(encrypted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
