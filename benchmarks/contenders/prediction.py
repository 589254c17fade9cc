"""Shared by all contenders of plain prediction: the first answer, the timed call, the output; knows no library.

The timed call goes from texts in memory to their labels and probabilities in memory. Before it the model is loaded,
gives a first answer and predicts other texts.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contender import Task, parse_task

FIRST_TEXT = "This is a cherry pie."
Answers = tuple[Sequence[str], Sequence[float]]
Predict = Callable[[list[str]], Answers]


@dataclass
class Padding:
    """Counts the input of a model: tokens without padding, and positions with padding."""

    tokens: int = 0
    positions: int = 0

    def add(self, tokens: int, positions: int) -> None:
        """Count a batch."""
        self.tokens += tokens
        self.positions += positions

    def share(self, _texts: list[str]) -> float | None:
        """Return the share of padding among the positions, or None when nothing was counted."""
        return 1 - self.tokens / self.positions if self.positions else None


@dataclass(frozen=True)
class Loaded:
    """A loaded model.

    `padding` returns the share of padding for some texts; it is called after the timed call. `close` ends the model.
    """

    predict: Predict
    padding: Callable[[list[str]], float | None]
    close: Callable[[], None] = lambda: None


def measure(description: str | None, load: Callable[[Task], Loaded]) -> None:
    """Load a model, time it on the texts of the input, write its answers, and print one JSON line.

    `seconds_first_answer` is the time from the start of the process to the answer for one text. `seconds` is the time
    of the timed call.
    """
    task = parse_task(description)
    loaded = load(task)
    try:
        loaded.predict([FIRST_TEXT])
        seconds_first_answer = time.clock_gettime(time.CLOCK_MONOTONIC) - float(os.environ["STARTED_AT"])
        result = _predict_all(task, loaded)
    finally:
        loaded.close()
    sys.stdout.write(json.dumps(result | {"seconds_first_answer": round(seconds_first_answer, 3)}) + "\n")


def _predict_all(task: Task, loaded: Loaded) -> dict[str, Any]:
    """Predict the warm-up texts, then time the texts of the input; write the answers and return the figures."""
    import pyarrow as pa  # imported here because the first answer does not need it
    from pyarrow import parquet

    table = parquet.read_table(task.input)
    texts = table["text"].to_pylist()
    warm_up = parquet.read_table(next(Path(task.input).glob("_*.parquet")))["text"].to_pylist()
    loaded.predict(warm_up)
    start = time.perf_counter()
    labels, scores = loaded.predict(texts)
    seconds = time.perf_counter() - start
    Path(task.output).mkdir(parents=True)
    answers = {"id": table["id"], "label": list(labels), "score": [float(score) for score in scores]}
    parquet.write_table(pa.table(answers), Path(task.output) / "answers.parquet")
    padding = loaded.padding(warm_up)
    return {"rows": len(texts), "seconds": round(seconds, 4), "padding": padding, "threads": task.threads}


def read_labels(task: Task) -> list[str]:
    """Return the labels of the checkpoint in the order of its logits."""
    config = json.loads((Path(task.checkpoint) / "config.json").read_text(encoding="utf-8"))
    return [config["id2label"][str(index)] for index in range(len(config["id2label"]))]


def export_path(task: Task, name: str) -> Path:
    """Return the directory of the checkpoint in another library's format, a sibling of Optimum's."""
    return Path(task.optimum).with_name(name)


def count_padding(model: Any, padding: Padding) -> None:
    """Wrap the `forward` of a model so that it counts the positions of its attention mask."""
    forward = model.forward

    @functools.wraps(forward)
    def counted(*args: Any, **inputs: Any) -> Any:
        mask = inputs["attention_mask"]
        padding.add(int(mask.sum()), mask.shape[0] * mask.shape[1])
        return forward(*args, **inputs)

    model.forward = counted


def sort_by_length(predict: Predict) -> Predict:
    """Return a function that predicts texts sorted by length and returns the answers in the original order."""

    def predict_sorted(texts: list[str]) -> Answers:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        labels, scores = predict([texts[index] for index in order])
        original = sorted(range(len(texts)), key=order.__getitem__)
        return [labels[index] for index in original], [scores[index] for index in original]

    return predict_sorted
