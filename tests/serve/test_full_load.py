"""Under full load, and with slow clients, the service stays alive for those who watch it."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.running import GOLDEN, Running, run

KEY = "sesame"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    key_file = tmp_path_factory.mktemp("load") / "key"
    key_file.write_text(KEY)
    flags = ("--api-key-file", str(key_file), "--threads", "1", "--read-limit-s", "5")
    with run(GOLDEN, *flags, headers={"authorization": f"Bearer {KEY}"}) as running:
        yield running


def test_liveness_answers_within_a_second_under_full_load_and_without_a_key(service: Running) -> None:
    is_over = threading.Event()
    statuses: Counter[int] = Counter()

    def flood() -> None:
        while not is_over.is_set():
            statuses[service.ask("POST", "/predict", {"inputs": ["good " * 60] * 1000}).status] += 1

    threads = [threading.Thread(target=flood) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    slowest_s = 0.0
    for _ in range(10):
        start_s = time.monotonic()
        assert service.ask("GET", "/v2/health/live", headers={"authorization": ""}).status == 200
        slowest_s = max(slowest_s, time.monotonic() - start_s)
        time.sleep(0.1)
    is_over.set()
    for thread in threads:
        thread.join(timeout=60)
    assert statuses.keys() <= {200, 429}, statuses
    assert statuses[200] > 0
    assert slowest_s < 1


def test_clients_that_send_and_read_slowly_delay_nobody(service: Running) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
    for index, connection in enumerate(slow):
        connection.sendall(head[: 10 + index % len(head)])
    try:
        for _ in range(20):
            start_s = time.monotonic()
            assert service.ask("POST", "/predict", {"inputs": "tea"}).status == 200
            assert time.monotonic() - start_s < 1
    finally:
        for connection in slow:
            connection.close()
    assert Path(f"/proc/{service.process.pid}").exists()
