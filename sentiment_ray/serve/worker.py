"""One process of a service with several: `sentiment_ray.serve.supervisor` starts it, and writes its configuration."""

import json
import socket
import sys
from typing import Any

from sentiment_ray.errors import SentimentRayError
from sentiment_ray.manifest import format_json
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.serve.server import Supervision, serve_on


def main() -> None:
    """Serve on a socket that the supervisor has bound."""
    given = json.loads(sys.stdin.buffer.readline())
    try:
        with socket.socket(fileno=given["listener"]) as listener:
            config = ServeConfig(**given["config"])
            supervision = Supervision(
                pipe=sys.stdin.fileno(),
                announce=lambda bundle: _write({"event": "ready", "bundle": bundle}),
                note_reload=lambda: _write({"event": "reloaded"}),
            )
            serve_on(listener, config, supervision)
    except SentimentRayError as error:
        _write({"error": str(error)})
        sys.exit(error.exit_code)


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(format_json(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
