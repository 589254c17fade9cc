"""What every contender of plain prediction shares: its first answer, the timed call, its answers; knows no library.

Timed is from texts in memory to a label and its probability a text in memory, after the model was loaded, gave a first
answer and predicted other texts.
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
    """Counts what a model is given: real tokens, and positions, padding included."""

    tokens: int = 0
    positions: int = 0

    def add(self, tokens: int, positions: int) -> None:
        """Count a batch."""
        self.tokens += tokens
        self.positions += positions

    def share(self, _texts: list[str]) -> float | None:
        """Return the share of positions that were padding, None when nothing was counted."""
        return 1 - self.tokens / self.positions if self.positions else None


@dataclass(frozen=True)
class Loaded:
    """A model in memory: how it predicts, the share of padding for texts, asked after it was timed, and how it ends."""

    predict: Predict
    padding: Callable[[list[str]], float | None]
    close: Callable[[], None] = lambda: None


def measure(description: str | None, load: Callable[[Task], Loaded]) -> None:
    """Load a model, time it on the texts of the input and write its answers; the result is one JSON line.

    `seconds_first_answer` is from the start of the process to the answer for one text, `seconds` the timed call.
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
    """Predict the texts beside the input and then, timed, those of the input; write answers and return figures."""
    import pyarrow as pa  # so late because the first answer does not need it
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


def labels_of(task: Task) -> list[str]:
    """Return the labels of the checkpoint in the order of its logits."""
    config = json.loads((Path(task.checkpoint) / "config.json").read_text(encoding="utf-8"))
    return [config["id2label"][str(index)] for index in range(len(config["id2label"]))]


def export_of(task: Task, name: str) -> Path:
    """Return the directory of the checkpoint in another library's format, which lies beside Optimum's."""
    return Path(task.optimum).with_name(name)


def count_padding(model: Any, padding: Padding) -> None:
    """Have a model with `forward(attention_mask=...)` count what it is given; it computes as before."""
    forward = model.forward

    @functools.wraps(forward)
    def counted(*args: Any, **inputs: Any) -> Any:
        mask = inputs["attention_mask"]
        padding.add(int(mask.sum()), mask.shape[0] * mask.shape[1])
        return forward(*args, **inputs)

    model.forward = counted


def in_length_order(predict: Predict) -> Predict:
    """Return a function that predicts texts sorted by their characters; answers come in the order of the texts."""

    def predict_sorted(texts: list[str]) -> Answers:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        labels, scores = predict([texts[index] for index in order])
        back = sorted(range(len(texts)), key=order.__getitem__)
        return [labels[place] for place in back], [scores[place] for place in back]

    return predict_sorted
