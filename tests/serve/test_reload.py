"""A running service takes a new bundle, new keys and a second bundle without a lost request, or goes on as it was."""

import asyncio
import os
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sentiment_ray.inference.async_predictor import AsyncPredictor
from sentiment_ray.inference.scoring import make_scores
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.reload import Reloader, load_predictor
from sentiment_ray.serve.service import Service
from sentiment_ray.serve.traffic import Traffic
from tests.serve.running import GOLDEN, Running, copy_bundle, run, wait_until


class Clients:
    """Clients that ask until they are stopped."""

    def __init__(self, service: Running) -> None:
        self.statuses: Counter[object] = Counter()
        self._service = service
        self._is_stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_stopped.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _run(self) -> None:
        connection = self._service.connect()
        while not self._is_stopped.is_set():
            try:
                body = b'{"inputs": ["a good shop", "a bad hotel", "tea"]}'
                connection.request("POST", "/predict", body, {"content-type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
                self.statuses[response.status if answer.count(b"label") == 9 else answer] += 1
            except Exception as error:
                self.statuses[repr(error)] += 1
                return
        connection.close()


def check_reloads(tmp_path: Path, number: int) -> None:
    """Reload under load, by a signal and by a request in turn, with two bundles in turn, and lose nothing."""
    bundle = tmp_path / "bundle"
    ids = [copy_bundle(tmp_path / str(length), max_tokens=length) for length in (20, 30)]
    shutil.copytree(tmp_path / "20", bundle)
    with run(bundle) as service:
        clients = Clients(service)
        for index in range(1, number + 1):
            shutil.copytree(tmp_path / ("20", "30")[index % 2], bundle, dirs_exist_ok=True)
            if index % 2:
                service.process.send_signal(signal.SIGHUP)
            else:
                assert service.ask("POST", "/admin/reload").json == {"bundle_id": ids[0]}
            wait_until(
                lambda expected=ids[index % 2]: service.ask("GET", "/info").json["bundle_id"] == expected,
                "the new bundle does not answer",
            )
        clients.stop()
        assert service.read_metrics()["sentiment_ray_reloads_total{result=done}"] == number
        threads = len(os.listdir(f"/proc/{service.process.pid}/task"))
    assert clients.statuses.keys() == {200}, clients.statuses
    assert clients.statuses[200] > number
    assert threads < 40, "the threads of the replaced bundles have ended"


def test_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    check_reloads(tmp_path, 3)


@pytest.mark.slow
def test_fifty_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    check_reloads(tmp_path, 50)


def test_answers_of_a_replaced_bundle_are_counted_by_its_own_labels() -> None:
    """The old bundle may answer its last calls when the new one, with fewer labels, has taken its place."""
    traffic, one = Traffic(), np.ones(1, dtype=np.int32)
    for labels in (("negative", "neutral", "positive"), ("bad", "good")):
        logits = np.arange(len(labels), dtype=np.float32)[np.newaxis]
        scores = make_scores(logits, tokens=one, truncated=np.zeros(1, dtype=np.bool_), unknown=one)
        traffic.add(["a good shop"], scores, labels)
    profile = traffic.count_new()
    assert profile and {label: num for label, num in profile["labels"].items() if num} == {"positive": 1, "good": 1}


def test_a_bundle_that_is_damaged_leaves_the_old_one_answering(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(GOLDEN, bundle)
    with run(bundle) as service:
        before = service.ask("GET", "/info").json["bundle_id"]
        tokenizer = bundle / "tokenizer.json"
        tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
        refused = service.ask("POST", "/admin/reload")
        assert refused.status == 424
        assert "The old bundle still answers." in refused.json["error"]
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: service.read_metrics()["sentiment_ray_reloads_total{result=failed}"] == 2, "no second try")
        assert service.ask("GET", "/info").json["bundle_id"] == before
        assert service.ask("POST", "/predict", {"inputs": "tea"}).status == 200
    assert service.process.returncode == 0


def test_a_reload_goes_on_when_the_deadline_of_its_request_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[AsyncPredictor] = []

    def load_slowly(config: ServeConfig) -> AsyncPredictor:
        time.sleep(0.3)
        loaded.append(load_predictor(config))
        return loaded[-1]

    monkeypatch.setattr("sentiment_ray.serve.reload.load_predictor", load_slowly)

    async def reload() -> None:
        config = ServeConfig(bundle=str(GOLDEN), engine="onnxruntime", threads=1)
        old = load_predictor(config)
        service = Service(config, old)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Reloader(service).reload()
        assert service.predictor is old
        while service.predictor is old:
            await asyncio.sleep(0.05)
        assert service.predictor is loaded[0]
        loaded[0].close()

    asyncio.run(asyncio.wait_for(reload(), timeout=30))


def test_a_reload_reads_the_keys_again_and_needs_one_and_comes_from_this_machine(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    with run(GOLDEN, "--api-key-file", str(key)) as service:
        old, new = {"authorization": "Bearer first"}, {"authorization": "Bearer second"}
        assert service.ask("POST", "/admin/reload").status == 401
        assert service.ask("POST", "/admin/reload", headers=old | {"x-forwarded-for": "127.0.0.1"}).status == 403
        key.write_text("second\n")
        assert service.ask("POST", "/admin/reload", headers=old).status == 200
        assert service.ask("GET", "/info", headers=old).status == 401
        assert service.ask("GET", "/info", headers=new).status == 200
        key.write_text("")
        refused = service.ask("POST", "/admin/reload", headers=new)
        assert refused.status == 424
        assert service.ask("GET", "/info", headers=new).status == 200


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_service_that_is_asked_to_end_as_soon_as_it_is_ready_ends_well(engine: str) -> None:
    """The engine is still warming up shapes at that moment, outside of Python."""
    with run(GOLDEN, "--engine", engine) as service:
        pass
    assert service.process.returncode == 0
