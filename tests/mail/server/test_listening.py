import asyncio
import socket
import threading

from mail.server.listening import stop_accepting


class _Greeting(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


async def connect_and_stop(rounds: int) -> tuple[list[_Greeting], socket.socket]:
    """Stop in that round of the loop after a connection; who was accepted, and the client."""
    made: list[_Greeting] = []

    def greet() -> _Greeting:
        made.append(_Greeting())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(greet, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname(), timeout=5)
    for _ in range(rounds):
        await asyncio.sleep(0)
    await stop_accepting([server])
    for each in made:
        assert each.transport is not None
        each.transport.abort()
    return made, client


def test_who_is_accepted_in_the_moment_of_the_stop_is_not_forgotten() -> None:
    accepted = []

    def run() -> None:
        # In a thread of its own: a browser test's loop may own this one.
        for rounds in range(6):
            made, client = asyncio.run(connect_and_stop(rounds))
            accepted.append(len(made))
            # Reset by the listener or by the transport, but not left open.
            with client:
                try:
                    assert client.recv(1) == b""
                except ConnectionResetError:
                    continue

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)

    assert accepted[0] == 0
    assert accepted[2:] == [1, 1, 1, 1]
