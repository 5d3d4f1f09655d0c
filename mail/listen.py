"""Where the mail server listens, as MAIL_LISTEN writes it."""


def listen_address(text: str) -> tuple[str, int]:
    """The (host, port) in `127.0.0.1:2525` or `[::1]:2525`. Raises ValueError."""
    host, _colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError("MAIL_LISTEN must be an address and a port, as 127.0.0.1:2525.")
    return host, int(port)
