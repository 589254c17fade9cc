"""Ends the service without losing a request: uvicorn's server and protocol with another shutdown; knows no routes.

uvicorn closes connections that were accepted but not read yet (https://github.com/encode/uvicorn/issues/2757) and drops
pipelined requests. Here every connection is first heard out: a request that has begun is answered with
`Connection: close`, and only a connection that stays silent is closed without one.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

SILENCE_S = 1.0
"""How long a connection without a request is kept when the service ends; a request may be on its way."""
POLL_S = 0.02
UNSTOPPABLE_S = 3.0
"""How long after the drain limit the process is ended by force, when a thread of an engine does not return."""
MAX_DISCARDED_BYTES = 64 << 20
"""How much of an upload is read and thrown away after its answer. A client reads the answer when it has sent all."""
MAX_DISCARDING_S = 10.0
MAX_HEAD_BYTES = 64 << 10
"""A larger head of a request is answered with 400."""
SO_ATTACH_FILTER = 26
"""From Linux's asm-generic/socket.h; the module `socket` does not have it."""
WITHOUT_SYN = struct.pack(
    "HBBI" * 5,
    *(0x30, 0, 0, 13),  # load the byte of the TCP flags
    *(0x54, 0, 0, 0x12),  # and SYN | ACK
    *(0x15, 0, 1, 0x02),  # if it is SYN alone:
    *(0x06, 0, 0, 0),  # drop the packet
    *(0x06, 0, 0, 0xFFFFFFFF),  # else take it whole
)
"""A classic BPF program that drops the packets which open a connection (linux/filter.h)."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol; it also limits the time of a request's head, and lets a client finish its upload."""

    read_limit_s: float
    """How long the head of a request may take; set by `make_protocol`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of a connection that may never send anything."""
        super().connection_made(transport)
        self.last_activity_s = self.loop.time()
        self.is_draining = isinstance(self.server_state, _State) and self.server_state.is_draining
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
        """Do nothing: `Server.shutdown` closes silent connections by `close_if_silent`."""

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
            body = b'{"error":"The head of the request came too slowly.","error_type":"Timeout"}'
            self._refuse_head(b"408 Request Timeout", b"application/json", body)

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


class _State(ServerState):
    """What the connections of a server share."""

    is_draining = False


class _Transport:
    """What an answer writes to: the connection, with another `close`."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def make_protocol(read_limit_s: float) -> type[Protocol]:
    """Return the protocol class with its time limit, as uvicorn makes instances of it without further arguments."""
    return type("Protocol", (Protocol,), {"read_limit_s": read_limit_s})


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it ends.

    On SIGTERM `on_drain` is called at once, and the listener stays open for `pause_s`, as load balancers still route
    requests here. Then connections that the kernel has accepted are taken, and the listener is closed. The server ends
    when every request that has begun is answered, at the latest `limit_s` after the signal. SIGINT, and a second
    signal, skip the pause.
    """

    def __init__(self, config: uvicorn.Config, *, pause_s: float, limit_s: float, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self.server_state = self._state = _State()
        self.num_cut_off = 0
        """Requests that were not answered when the drain limit was reached."""
        self._pause_s = pause_s
        self._limit_s = limit_s
        self._on_drain = on_drain
        self._drain_start_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain: the handler of SIGTERM and SIGINT."""
        self.drain(skip_pause=sig == signal.SIGINT or self.should_exit)

    def drain(self, *, skip_pause: bool = False) -> None:
        """Begin to drain; may be called from a handler of signals and from any thread."""
        if skip_pause:
            self._pause_s = 0
        if self.should_exit:
            return
        self._drain_start_s = time.monotonic()
        self._on_drain()
        self.should_exit = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._state.is_draining = True
        for connection in list(self.server_state.connections):
            connection.begin_drain()  # type: ignore[union-attr]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, and end."""
        self._begin_drain()
        limit_s = self._drain_start_s + self._limit_s
        _end_by_force_after(self._limit_s + UNSTOPPABLE_S)
        while time.monotonic() < min(self._drain_start_s + self._pause_s, limit_s):
            await asyncio.sleep(POLL_S)
        await self._take_all_and_stop_listening(sockets or [])
        while (self.server_state.connections or self.server_state.tasks) and time.monotonic() < limit_s:
            if time.monotonic() > self._drain_start_s + SILENCE_S:
                self._close_silent_connections()
            await asyncio.sleep(POLL_S)
        await self._cut_off()
        await self.lifespan.shutdown()

    def _close_silent_connections(self) -> None:
        since_s = asyncio.get_running_loop().time() - SILENCE_S
        for connection in list(self.server_state.connections):
            connection.close_if_silent(since_s)  # type: ignore[union-attr]

    async def _take_all_and_stop_listening(self, sockets: list[socket.socket]) -> None:
        """Take the connections that the kernel has accepted, and close the listeners.

        A connection that the kernel accepts between the last look and the close would be reset. So the kernel is told
        first to ignore new ones: their clients try again, and are refused.
        """
        loop = asyncio.get_running_loop()
        for listener in sockets:
            with contextlib.suppress(OSError):  # another system than Linux
                program = ctypes.create_string_buffer(WITHOUT_SYN, len(WITHOUT_SYN))
                pointer = struct.pack("HL", len(WITHOUT_SYN) // 8, ctypes.addressof(program))
                listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
        duplicates = [listener.dup() for listener in sockets]
        for server in self.servers:
            server.close()
        for listener in duplicates:
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted, _ = listener.accept()
                    accepted.setblocking(False)
                    await loop.connect_accepted_socket(self._make_connection, accepted)
            listener.close()
        for listener in sockets:
            listener.close()

    def _make_connection(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore

    async def _cut_off(self) -> None:
        """End what did not end in time."""
        tasks = list(self.server_state.tasks)
        self.num_cut_off = len(tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Handle signals while the server runs; uvicorn raises them again afterwards, which would skip the clean-up."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def _has_unread_bytes(transport: asyncio.Transport) -> bool:
    """Return whether bytes of a connection wait in the kernel."""
    connection = transport.get_extra_info("socket")
    try:
        (num_bytes,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)))
    except OSError:
        return False
    return bool(num_bytes)


def _end_by_force_after(seconds: float) -> None:
    """End the process when it is still there then: the interpreter waits for the threads of an engine that hangs."""
    if threading.current_thread() is threading.main_thread():
        timer = threading.Timer(seconds, os._exit, [1])
        timer.daemon = True
        timer.start()
