"""One connection of the service: uvicorn's protocol, with limits for the head of a request and another way to close.

uvicorn drops pipelined requests when it ends, resets the connection of a client that still uploads, and loses the body
of a request that asks for another protocol, such as HTTP/2.
"""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

MAX_DISCARDED_BYTES = 64 << 20
"""How much of an upload is read and thrown away after its answer. A client reads the answer when it has sent all."""
MAX_DISCARDING_S = 10.0
SLOW_HEAD_BODY = b'{"error":"The head of the request came too slowly.","error_type":"Timeout"}'
"""What a service answers a slow head with, unless its errors have another form."""
MAX_HEAD_BYTES = 64 << 10
"""A larger head of a request is answered with 400."""
HEAD_START = b"HTTP/1.1 "
INTERIM_START = b"HTTP/1.1 1"
"""`100 Continue`, for which a client waits before it sends the body."""


class SharedState(ServerState):
    """What the connections of a server share."""

    is_draining = False


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol; it also limits the time of a request's head, and lets a client finish its upload."""

    read_limit_s: float
    """How long the head of a request may take; set by `make_protocol`."""
    slow_head_body: bytes
    """The JSON that answers a head which takes longer; set by `make_protocol`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of a connection that may never send anything."""
        super().connection_made(transport)
        self.last_activity_s = self.loop.time()
        self.is_draining = isinstance(self.server_state, SharedState) and self.server_state.is_draining
        self._is_reading_head = False
        self._num_head_bytes = 0
        self._num_discarded_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._discard_timer: asyncio.TimerHandle | None = None
        self._last_cycle: RequestResponseCycle | None = None
        self._transport_of_cycles = _Transport(transport, self._close_after_upload)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        for timer in (self._head_timer, self._discard_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse what came, or throw it away when the connection only waits for the end of an upload."""
        self.last_activity_s = self.loop.time()
        if self._discard_timer:
            self._num_discarded_bytes += len(data)
            if self._num_discarded_bytes > MAX_DISCARDED_BYTES:
                self.transport.close()
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
        if self._is_reading_head:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("Invalid HTTP request received.")
            if not self._head_timer:
                self._head_timer = self.loop.call_later(self.read_limit_s, self._refuse_slow_head)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._is_reading_head = True
        self._num_head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header, if there are not too many."""
        self._num_head_bytes += len(name) + len(value)
        if self._num_head_bytes > MAX_HEAD_BYTES:
            raise ValueError("The head is too large.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request; when the service ends, it is the last one of its connection."""
        if self.parser.should_upgrade():
            return
        self._is_reading_head = False
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        self.cycle.transport = self._transport_of_cycles  # type: ignore[assignment]
        if self.is_draining:
            self._make_last(self.cycle)

    def on_message_complete(self) -> None:
        """End the body of a request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request again without the client's wish for another protocol, such as that of Java for HTTP/2.

        httptools takes what follows such a head for the other protocol, so the body of the request would be lost.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            self.send_400_response("Invalid HTTP request received.")
            return
        head = [b"%b %b HTTP/%b\r\n" % (method, self.url, version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"
            if name not in (b"upgrade", b"http2-settings"):
                head.append(b"%b: %b\r\n" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join((*head, b"\r\n", rest)))

    def on_response_complete(self) -> None:
        """Go on with the next request, if the body of this one has been read whole."""
        self.last_activity_s = self.loop.time()
        self._transport_of_cycles.flush()
        if not self.pipeline and self.cycle.response_complete and self.cycle.more_body:
            self._close_after_upload()
        if self._discard_timer:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()

    def begin_drain(self) -> None:
        """From now on answer with `Connection: close`. Of pipelined requests the last answer has it."""
        self.is_draining = True
        if self.cycle is not None and not self.cycle.response_complete:
            self._make_last(self.cycle)

    def _make_last(self, cycle: RequestResponseCycle) -> None:
        earlier = self._last_cycle
        if earlier is not None and not earlier.response_started:
            earlier.keep_alive = True
        if cycle.keep_alive:  # else the client itself wants the connection closed
            cycle.keep_alive = False
            self._last_cycle = cycle

    def shutdown(self) -> None:
        """Do nothing: the server closes silent connections by `close_if_silent`."""

    def close_if_silent(self, since_s: float) -> None:
        """Close the connection if no request has begun and nothing came after `since_s`, a time of the loop."""
        is_busy = self._is_reading_head or (self.cycle is not None and not self.cycle.response_complete)
        if not is_busy and self.last_activity_s <= since_s and not self._discard_timer:
            self.timeout_keep_alive_handler()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has just arrived and waits to be read."""
        if not self.transport.is_closing() and not _has_unread_bytes(self.transport):
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, and close."""
        if not self._discard_timer:
            self._refuse_head(b"400 Bad Request", b"text/plain; charset=utf-8", msg.encode())

    def _refuse_slow_head(self) -> None:
        """Answer 408 to a client that sends the head of its request too slowly, and close."""
        if self._is_reading_head and not self._discard_timer and not self.transport.is_closing():
            self._refuse_head(b"408 Request Timeout", b"application/json", self.slow_head_body)

    def _refuse_head(self, status: bytes, content_type: bytes, body: bytes) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # the answer before it is not out yet
            self.transport.close()
            return
        head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, content_type, len(body)) + body)
        self._discard_rest()

    def _close_after_upload(self) -> None:
        """Close after an answer; a client that still uploads would lose the answer, so its bytes are read first."""
        if self.cycle.more_body or self.pipeline:
            self._discard_rest()
        else:
            self.transport.close()

    def _discard_rest(self) -> None:
        """Write no more, read on for a while, and then close.

        Closing a socket that has unread bytes resets the connection, and the client's system then drops what it had
        received (RFC 9112, section 9.6).
        """
        if not self._discard_timer and not self.transport.is_closing():
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self._discard_timer = self.loop.call_later(MAX_DISCARDING_S, self.transport.close)
            self.flow.resume_reading()


class _Transport:
    """What an answer writes to: the connection, with another `close`.

    uvicorn writes the head of an answer and its body apart. Here the head waits for the body, so both take one call of
    the system and one packet.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send bytes; the head of an answer is kept until the next ones."""
        if not self._head and data.startswith(HEAD_START) and not data.startswith(INTERIM_START):
            self._head = data
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """Send a head that no body follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is kept, and close as the protocol wishes."""
        self.flush()
        self._close()


def make_protocol(read_limit_s: float, slow_head_body: bytes = SLOW_HEAD_BODY) -> type[Protocol]:
    """Return the protocol class with its time limit, as uvicorn makes instances of it without further arguments."""
    return type("Protocol", (Protocol,), {"read_limit_s": read_limit_s, "slow_head_body": slow_head_body})


def _has_unread_bytes(transport: asyncio.Transport) -> bool:
    """Return whether bytes of a connection wait in the kernel."""
    connection = transport.get_extra_info("socket")
    try:
        (num_bytes,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)))
    except OSError:
        return False
    return bool(num_bytes)
