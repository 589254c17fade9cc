"""Keeps the results of a part: one JSON line each, written as it comes; a failure costs its own line alone."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_REASON = 300
Line = dict[str, Any]


def results_path(root: Path, part: str) -> Path:
    """Return the file of a part's results below the work directory."""
    return root / "results" / f"{part}.jsonl"


def read_lines(root: Path, part: str) -> list[Line]:
    """Return the results of a part so far: of several lines about the same thing, the newest."""
    path = results_path(root, part)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return list({line["what"]: line for line in map(json.loads, lines)}.values())


@dataclass(frozen=True)
class Results:
    """The results of one part."""

    root: Path
    part: str

    def add(self, what: str, **figures: Any) -> None:
        """Append a line: `what` was measured, and the figures."""
        line = {"part": self.part, "what": what, **figures, "at": time.strftime("%H:%M:%S")}
        with results_path(self.root, self.part).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    @contextmanager
    def catching(self, what: str) -> Iterator[None]:
        """Turn an error of the block into a line with the reason."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.add(what, error=describe_error(error))


def describe_error(error: BaseException) -> str:
    """Return the kind of an error and its message on one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]
