"""A policy service that answers at once, without a look at the question: `python -m bench.at_once PATH`.

What its answers take beside a load is the machine's part of what ours take: nobody's can be faster there.
"""

import selectors
import socket
import sys
from pathlib import Path

ANSWER = b"action=DUNNO\n\n"


def serve(path: Path) -> None:
    """Answer at this UNIX socket, until the process is ended."""
    selector = selectors.DefaultSelector()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _events in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            received = connection.recv(65536)
            if not received:
                selector.unregister(connection)
                connection.close()
            elif received.endswith(b"\n\n"):
                connection.sendall(ANSWER)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
