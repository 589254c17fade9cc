"""A second bundle scores a share of the texts in a process of its own, and delays no answer."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.metrics import Metrics
from sentiment_ray.serve.shadow import Shadow
from tests.serve.running import GOLDEN, Running, copy_bundle, run, wait_until


def test_a_second_bundle_scores_a_share_and_its_flips_are_counted(tmp_path: Path) -> None:
    copy_bundle(tmp_path / "turned", labels=("positive", "neutral", "negative"))
    with run(GOLDEN, "--shadow", str(tmp_path / "turned"), "--shadow-share", "1") as service:
        texts = ["a good shop", "a bad hotel", "tea", "I love it", "the worst film"]
        answers = service.ask("POST", "/predict", {"inputs": texts}).json
        flips = sum(answer[0]["label"] != "neutral" for answer in answers)
        wait_until(lambda: service.read_metrics()["sentiment_ray_shadow_texts_total"] == 5, "not all were scored")
        counted = service.read_metrics()
        assert counted["sentiment_ray_shadow_flips_total"] == flips
        assert flips, "the test needs a text that is not neutral"
        assert counted["sentiment_ray_shadow_dropped_total"] == 0
        for _ in range(3):
            service.ask("POST", "/predict", {"inputs": ["good " * 50] * 1000})
        assert service.read_metrics()["sentiment_ray_shadow_dropped_total"] > 0, "the queue is bounded"


def _find_shadow_process(service: Running) -> int | None:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    is_shadow = [b"shadow_process" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    return next((int(child) for child, is_it in zip(children, is_shadow, strict=True) if is_it), None)


def test_a_process_of_the_second_bundle_that_dies_is_started_again() -> None:
    with run(GOLDEN, "--shadow", str(GOLDEN), "--shadow-share", "1") as service:
        first = _find_shadow_process(service)
        assert first
        os.kill(first, signal.SIGKILL)
        service.wait_for_line("the process of the second bundle ended with exit code -9; another one starts")
        wait_until(lambda: _find_shadow_process(service) not in (None, first), "no other process started")
        assert service.ask("POST", "/predict", {"inputs": ["tea", "milk"]}).status == 200
        wait_until(
            lambda: service.ask("POST", "/shadow/predict", {"inputs": "tea"}).status == 200, "it does not answer"
        )
        wait_until(lambda: service.read_metrics()["sentiment_ray_shadow_texts_total"] == 2, "not all were scored")


def test_a_question_whose_caller_leaves_does_not_give_its_answer_to_the_next_one() -> None:
    async def ask() -> tuple[list[list[float]], list[list[float]]]:
        shadow = await Shadow.start(ServeConfig(bundle="unused", shadow=str(GOLDEN)), Metrics())
        try:
            expected = await shadow.score(["tea", "a good shop"])
            leaving = asyncio.create_task(shadow.score(["a bad hotel"] * 100))
            await asyncio.sleep(0.001)
            leaving.cancel()
            return expected, await shadow.score(["tea", "a good shop"])
        finally:
            await shadow.close()

    expected, found = asyncio.run(ask())
    assert found == expected


def test_a_second_bundle_that_is_none_is_named() -> None:
    with pytest.raises(AssertionError, match="shadow = 'nowhere'"), run(GOLDEN, "--shadow", "nowhere"):
        pass
