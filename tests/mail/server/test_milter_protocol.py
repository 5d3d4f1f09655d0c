"""The milter protocol against a second implementation: what it writes we read, what we write it reads."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kilter.protocol import messages as kilter
from kilter.protocol.buffer import SimpleBuffer

from mail.server import milter_protocol as ours
from mail.server.milter_protocol import Action, BadPacket, Stage, Step

# A string of the protocol ends with a zero octet.
OCTETS = st.binary(max_size=200).map(lambda octets: octets.replace(b"\0", b""))
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
NAME = st.from_regex(r"[A-Za-z-]{1,40}", fullmatch=True)
MACRO = st.from_regex(r"\{?[a-z_]{1,20}\}?", fullmatch=True)
UINT32 = st.integers(0, 2**32 - 1)


def written(message: kilter.Message) -> bytes:
    """The octets of a message, as the other implementation writes them."""
    buffer = SimpleBuffer(256 * 1024)
    message.pack(buffer)
    return buffer[:].tobytes()


def read(octets: bytes) -> kilter.Message:
    """The message in these octets, of which none is left over, as the other implementation reads it."""
    buffer = SimpleBuffer(len(octets))
    buffer[:] = octets
    message, size = kilter.Message.unpack(buffer)
    assert size == len(octets)
    message.freeze()
    return message


def data_of(message: kilter.Message) -> bytes:
    """The data of the other implementation's message, as we read it."""
    octets = written(message)
    found = ours.split(bytearray(octets))
    assert found is not None
    packet, size = found
    assert size == len(octets)
    assert packet[0] == message.ident
    return packet[1:]


def bare(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


@given(st.lists(OCTETS, min_size=1, max_size=5), OCTETS)
def test_packets_are_told_apart_wherever_they_are_cut(bodies: list[bytes], rest: bytes) -> None:
    stream = bytearray(b"".join(ours.packet(b"H", body) for body in bodies))
    whole, found = len(stream), []

    for cut in range(len(ours.packet(b"H", bodies[0]))):
        assert ours.split(stream[:cut]) is None
    while stream and (split := ours.split(stream)):
        found.append(split[0])
        del stream[: split[1]]

    assert found == [b"H" + body for body in bodies]
    assert whole == sum(5 + len(body) for body in bodies)


@pytest.mark.parametrize("length", [0, ours.PACKET_MAX + 1, 2**32 - 1])
def test_a_packet_without_a_command_or_without_an_end_is_refused(length: int) -> None:
    with pytest.raises(BadPacket):
        ours.split(bytearray(length.to_bytes(4) + b"Hx"))


@given(UINT32, st.integers(0, 0x1FF), st.integers(0, 0x1FFFFF))
def test_what_the_mail_server_offers(version: int, actions: int, steps: int) -> None:
    data = data_of(kilter.Negotiate(version, kilter.ActionFlags(actions), kilter.ProtocolFlags(steps)))

    assert ours.read_negotiation(data) == (version, actions, steps)


@given(
    st.integers(0, 0x1FF), st.integers(0, 0x1FFFFF), st.dictionaries(st.sampled_from(Stage), st.lists(MACRO))
)
def test_what_we_answer_to_it(actions: int, steps: int, macros: dict[Stage, list[str]]) -> None:
    message = read(ours.negotiation(Action(actions), Step(steps), macros))

    flags = kilter.ActionFlags(actions), kilter.ProtocolFlags(steps)
    assert message == kilter.Negotiate(6, *flags, {kilter.Stage(k): v for k, v in macros.items()})


def test_the_names_of_both_stand_for_the_same() -> None:
    pairs = {
        Step.NO_HELO: kilter.ProtocolFlags.NO_HELO,
        Step.NO_BODY: kilter.ProtocolFlags.NO_BODY,
        Step.NO_END_OF_HEADER: kilter.ProtocolFlags.NO_END_OF_HEADERS,
        Step.NO_REPLY_TO_HEADER: kilter.ProtocolFlags.NR_HEADER,
        Step.NO_UNKNOWN: kilter.ProtocolFlags.NO_UNKNOWN,
        Step.NO_DATA: kilter.ProtocolFlags.NO_DATA,
        Step.NO_REPLY_TO_CONNECT: kilter.ProtocolFlags.NR_CONNECT,
        Step.NO_REPLY_TO_MAIL: kilter.ProtocolFlags.NR_SENDER,
        Action.ADD_HEADERS: kilter.ActionFlags.ADD_HEADERS,
        Action.ADD_RECIPIENTS: kilter.ActionFlags.ADD_RECIPIENT,
        Action.DELETE_RECIPIENTS: kilter.ActionFlags.DELETE_RECIPIENT,
        Action.CHANGE_SENDER: kilter.ActionFlags.CHANGE_FROM,
        Action.SET_MACROS: kilter.ActionFlags.SETSYMLIST,
        Stage.MAIL: kilter.Stage.ENVELOPE_FROM,
        Stage.RCPT: kilter.Stage.ENVELOPE_RECIPIENT,
    }

    assert [int(each) for each in pairs] == [int(each) for each in pairs.values()]
    assert {*Step, *Action} <= pairs.keys()


@given(st.one_of(st.ip_addresses(), st.none()), st.integers(0, 65535))
def test_a_clients_address(address: IPv4Address | IPv6Address | None, port: int) -> None:
    data = data_of(kilter.Connect("client.test", address, port))

    assert ours.read_client(data) == ("" if address is None else str(address))


@given(st.dictionaries(MACRO, st.text(st.characters(codec="ascii", exclude_characters="\0"))))
def test_macros(macros: dict[str, str]) -> None:
    assert ours.read_macros(data_of(kilter.Macro(ord("R"), macros))) == macros


@given(OCTETS, st.lists(OCTETS, max_size=3))
def test_senders_and_recipients(address: bytes, parameters: list[bytes]) -> None:
    for kind in (kilter.EnvelopeFrom, kilter.EnvelopeRecipient):
        data = data_of(kind(address, list(parameters)))

        assert ours.read_path(data) == bare(address)
        assert ours.read_strings(data) == [bare(each) for each in (address, *parameters)]


@given(NAME, OCTETS)
def test_header_fields(name: str, text: bytes) -> None:
    assert ours.read_field(data_of(kilter.Header(name, text))) == (name, bare(text))


@pytest.mark.parametrize(
    ("read_it", "data"),
    [
        (ours.read_negotiation, b"\0" * 11),
        (ours.read_client, b"client.test"),
        (ours.read_client, b"client.test\0"),
        (ours.read_macros, b""),
        (ours.read_macros, b"Ri\0"),
        (ours.read_macros, b"Ri\0x"),
        (ours.read_path, b"<a@b.test>"),
        (ours.read_path, b""),
        (ours.read_field, b"Subject\0"),
        (ours.read_field, b"Subject\0Hi\0there\0"),
    ],
)
def test_what_is_cut_short_is_refused(read_it: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(BadPacket):
        read_it(data)


@given(st.integers(0, 100), NAME, TEXT)
def test_a_field_that_is_inserted(index: int, name: str, text: str) -> None:
    expected = text.replace("\r\n", "\n").encode()

    assert read(ours.insert_header(index, name, text)) == kilter.InsertHeader(index, name, expected)


@given(TEXT)
def test_changes_of_the_envelope(address: str) -> None:
    assert read(ours.change_sender(address)) == kilter.ChangeSender(f"<{address}>")
    assert read(ours.add_recipient(address)) == kilter.AddRecipient(f"<{address}>")
    assert read(ours.delete_recipient(address)) == kilter.RemoveRecipient(f"<{address}>")


@given(TEXT)
def test_a_refusal(words: str) -> None:
    text = f"550 5.1.1 {words}"

    message = read(ours.reply(text))

    assert isinstance(message, kilter.ReplyCode)
    octets = bytes(message.content)
    assert octets.endswith(b"\0")
    assert octets[:-1].decode().replace("%%", "%") == text


def test_going_on() -> None:
    assert isinstance(read(ours.CONTINUE), kilter.Continue)
