"""The process of a second bundle: reads lines of JSON from stdin and writes one line of JSON to stdout for each.

The first line names the bundle. Each further line has texts, and its answer has the probabilities of their labels.
"""

import json
import os
import signal
import sys
from typing import Any

from sentiment_ray.errors import SentimentRayError, first_line
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.manifest import format_json

LOWEST_PRIORITY = 19


def main() -> None:
    """Answer until stdin ends, which it does when the service has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes of a terminal
    os.nice(LOWEST_PRIORITY)
    lines = iter(sys.stdin.buffer)
    keys = json.loads(next(lines))
    try:
        predictor = Predictor.load(keys["bundle"], threads=1, require_signature=keys["require_signature"])
    except SentimentRayError as error:
        _write({"error": f"{first_line(error)}."})
        return
    _write({"bundle_id": predictor.manifest.bundle_id, "labels": predictor.labels})
    for line in lines:
        scores = predictor.score(json.loads(line)["texts"])
        _write({"probabilities": scores.probabilities.tolist()})


def _write(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(format_json(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
