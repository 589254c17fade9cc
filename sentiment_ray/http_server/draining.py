"""Ends the service without losing a request: uvicorn's server with another shutdown; knows no routes.

uvicorn closes connections that were accepted but not read yet (https://github.com/encode/uvicorn/issues/2757). Here
every connection is first heard out: a request that has begun is answered with `Connection: close`, and only a
connection that stays silent is closed without an answer.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from sentiment_ray.http_server.protocol import SharedState

SILENCE_S = 1.0
"""How long a connection without a request is kept when the service ends; a request may be on its way."""
POLL_S = 0.02
UNSTOPPABLE_S = 3.0
"""How long after the drain limit the process is ended by force, when a thread of an engine does not return."""
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


class Server(uvicorn.Server):
    """uvicorn's server, which drains before it ends.

    On SIGTERM `on_drain` is called at once, and the listener stays open for `pause_s`, as load balancers still route
    requests here. Then connections that the kernel has accepted are taken, and the listener is closed. The server ends
    when every request that has begun is answered, at the latest `limit_s` after the signal. SIGINT, and a second
    signal, skip the pause.
    """

    def __init__(self, config: uvicorn.Config, *, pause_s: float, limit_s: float, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self.server_state = self._state = SharedState()
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


def _end_by_force_after(seconds: float) -> None:
    """End the process when it is still there then: the interpreter waits for the threads of an engine that hangs."""
    if threading.current_thread() is threading.main_thread():
        timer = threading.Timer(seconds, os._exit, [1])
        timer.daemon = True
        timer.start()
