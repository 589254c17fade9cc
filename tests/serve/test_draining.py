"""A service that is asked to end answers every request that it has accepted, and lets a client finish its upload."""

import asyncio
import contextlib
import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from sentiment_ray.http_server.address import bind
from sentiment_ray.http_server.draining import Server
from sentiment_ray.http_server.protocol import make_protocol

REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


async def answer_slowly(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the body, computes for 20 ms and answers; /early does not read the body."""
    if scope["path"] != "/early":
        while (await receive())["more_body"]:
            pass
        await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Running:
    """A server in a thread."""

    def __init__(self, *, pause_s: float = 0, limit_s: float = 10, read_limit_s: float = 5) -> None:
        self.drained: list[float] = []
        config = uvicorn.Config(
            answer_slowly,
            http=make_protocol(read_limit_s),
            ws="none",
            lifespan="off",
            log_level="critical",
            timeout_keep_alive=75,
        )
        self.server = Server(
            config, pause_s=pause_s, limit_s=limit_s, on_drain=lambda: self.drained.append(time.monotonic())
        )
        listener = bind("127.0.0.1", 0)
        listener.listen(2048)
        self.port = listener.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def end(self) -> None:
        self.server.drain()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(**keys: float) -> Iterator[Running]:
    started = Running(**keys)
    try:
        yield started
    finally:
        started.server.drain(skip_pause=True)
        started.end()


def read_answer(connection: socket.socket) -> bytes:
    """Return the whole answer; b"" when the connection was closed before it."""
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return received


def ask(connection: socket.socket) -> bytes:
    connection.sendall(REQUEST + b"body")
    return read_answer(connection)


def count_packets(connection: socket.socket) -> int:
    """Return how many packets with bytes have come: `tcpi_data_segs_in` of linux/tcp.h."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    return int.from_bytes(info[152:156], sys.byteorder)


class Load:
    """Clients of several kinds that go on until the service refuses them; `lost` has what was accepted and lost."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.answered: Counter[str] = Counter()
        self.lost: list[str] = []
        kinds: list[Callable[[], None]] = [self._ask_on_one, self._ask_on_new, self._send_slowly, self._wait_first]
        self.threads = [threading.Thread(target=self._run, args=(kind,)) for kind in kinds * 2]
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(timeout=30)

    def _run(self, kind: Callable[[], None]) -> None:
        try:
            while True:
                kind()
        except ConnectionRefusedError:
            return
        except TimeoutError:
            return
        except Exception as error:
            self.lost.append(f"{kind.__name__}: {error!r}")

    def _note(self, kind: str, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise AssertionError(f"no answer but {answer!r}")
        self.answered[kind] += 1

    def _ask_on_one(self) -> None:
        with self.service.connect() as connection:
            answer = b""
            while b"connection: close" not in answer:
                answer = ask(connection)
                self._note("one", answer)

    def _ask_on_new(self) -> None:
        with self.service.connect() as connection:
            self._note("new", ask(connection))

    def _send_slowly(self) -> None:
        with self.service.connect() as connection:
            for piece in (REQUEST[:20], REQUEST[20:], b"bo", b"dy"):
                connection.sendall(piece)
                time.sleep(random.uniform(0, 0.05))
            self._note("slow", read_answer(connection))

    def _wait_first(self) -> None:
        with self.service.connect() as connection:
            time.sleep(random.uniform(0, 0.3))
            self._note("idle", ask(connection))


def check_nothing_is_lost(*, pause_s: float) -> None:
    with running(pause_s=pause_s) as service:
        load = Load(service)
        time.sleep(random.uniform(0.2, 0.4))
        service.end()
        load.join()
    assert load.lost == []
    assert load.answered.keys() == {"one", "new", "slow", "idle"}


@pytest.mark.parametrize("pause_s", [0, 0.3])
def test_no_accepted_request_is_lost(pause_s: float) -> None:
    check_nothing_is_lost(pause_s=pause_s)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(50))
def test_no_accepted_request_is_lost_in_fifty_shutdowns(number: int) -> None:
    check_nothing_is_lost(pause_s=0.2 * (number % 2))


def test_connections_that_nobody_has_accepted_yet_are_answered() -> None:
    """The event loop is held while connections arrive, so they wait in the kernel when the shutdown begins."""
    with running() as service:
        held = threading.Event()
        loop = service.server._loop
        assert loop
        loop.call_soon_threadsafe(held.wait)
        time.sleep(0.05)
        waiting = [service.connect() for _ in range(50)]
        for connection in waiting[:40]:
            connection.sendall(REQUEST + b"body")
        service.server.drain()
        held.set()
        for connection in waiting[40:]:
            connection.sendall(REQUEST + b"body")
        answers = [read_answer(connection) for connection in waiting]
        assert all(b"connection: close" in answer for answer in answers), answers


def test_the_listener_stays_open_for_the_pause_and_answers_with_connection_close() -> None:
    with running(pause_s=1) as service:
        service.server.drain()
        assert service.drained, "readiness must change before anything else"
        with service.connect() as connection:
            assert b"connection: close" in ask(connection)
        time.sleep(1.3)
        with pytest.raises(OSError):
            service.connect()


def test_of_pipelined_requests_the_last_answer_closes_the_connection() -> None:
    with running() as service, service.connect() as connection:
        connection.sendall((REQUEST + b"body") * 3)
        time.sleep(0.01)
        service.server.drain()
        received = b""
        while piece := connection.recv(65536):
            received += piece
        assert received.count(b"HTTP/1.1 200 ") == 3
        assert received.count(b"connection: close") == 1


def test_the_process_does_not_wait_for_a_stalled_upload_beyond_its_limit() -> None:
    with running(limit_s=1.5) as service, service.connect() as connection:
        connection.sendall(REQUEST + b"bo")
        time.sleep(0.05)
        start_s = time.monotonic()
        service.end()
        assert 1 < time.monotonic() - start_s < 3
        assert service.server.num_cut_off == 1


def test_silent_connections_end_soon() -> None:
    with running() as service:
        silent = [service.connect() for _ in range(3)]
        assert ask(silent[0])
        start_s = time.monotonic()
        service.end()
        assert time.monotonic() - start_s < 2.5
        assert [connection.recv(10) for connection in silent] == [b""] * 3


@pytest.mark.parametrize("first", [b"POST /pre", REQUEST[:-2]])
def test_a_head_that_comes_too_slowly_is_answered_with_408(first: bytes) -> None:
    with running(read_limit_s=0.2) as service, service.connect() as connection:
        connection.sendall(first)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        assert received.startswith(b"HTTP/1.1 408 ")
        assert json.loads(received.split(b"\r\n\r\n")[1])["error_type"] == "Timeout"


def test_a_client_that_still_uploads_sees_the_answer() -> None:
    with running() as service, service.connect() as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"x" * 1_000_000)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        assert re.match(rb"HTTP/1.1 200 .*ok$", received, re.DOTALL)


def test_a_client_that_uploads_nonsense_sees_the_400() -> None:
    with running() as service, service.connect() as connection:
        connection.sendall(b"nonsense " * 1_000_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_an_answer_is_one_packet() -> None:
    with running() as service, service.connect() as connection:
        for number in range(1, 4):
            assert ask(connection).startswith(b"HTTP/1.1 200 ")
            assert count_packets(connection) == number


def test_a_client_that_waits_to_send_its_body_is_told_to_go_on() -> None:
    with running() as service, service.connect() as connection:
        connection.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_the_head_of_an_answer_without_a_body_is_sent() -> None:
    with running() as service, service.connect() as connection:
        connection.sendall(b"HEAD /early HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
