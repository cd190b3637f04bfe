"""Our end of a connection. Floods are in test_hostile_destinations.py."""

from broker.connections import Head
from broker.headers import header_text


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


class Protocol:
    """The end of a connection that a transport belongs to."""

    def __init__(self, wire: Wire) -> None:
        self.transport: object = Head(self, wire)  # type: ignore[arg-type]


def test_header_that_is_no_text_leaves_as_the_bytes_that_came():
    wire = Wire()
    protocol = Protocol(wire)
    head = f"POST / HTTP/1.1\r\nX-A: {header_text(chr(0xE9))}".encode()
    protocol.transport.writelines([head, b"\r\n\r\n", head])
    assert wire.written == b"POST / HTTP/1.1\r\nX-A: \xe9\r\n\r\n" + head


def test_transport_is_replaced_for_the_head_only():
    wire = Wire()
    protocol = Protocol(wire)
    assert protocol.transport.is_closing() is False
    protocol.transport.write(b"GET / HTTP/1.1\r\n\r\n")
    assert protocol.transport is wire
