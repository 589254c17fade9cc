"""The services that are compared, and how each is started and asked; knows nothing of how they are measured."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import CONTENDERS, Bench


@dataclass(frozen=True)
class Service:
    """A service. `command` follows the interpreter of its environment; {names} in it stand for files and numbers.

    `make_body` returns the body of a request for one text, and `read_label` the label in the answer.
    """

    name: str
    environment: str
    what: str
    command: tuple[str, ...]
    path: str = "/predict"
    make_body: Callable[[str], Any] = lambda text: {"inputs": text}
    read_label: Callable[[Any], str] = lambda answer: answer[0]["label"]

    def list_words(self, bench: Bench, names: dict[str, object]) -> list[str]:
        """Return the words of the command that starts the service."""
        return [str(bench.interpreter_path(self.environment)), *(word.format(**names) for word in self.command)]

    def encode(self, text: str) -> bytes:
        """Return the body of a request for one text, on one line."""
        return json.dumps(self.make_body(text)).encode()


def _peer(name: str, script: str, what: str, model: str, path: str = "/predict") -> Service:
    flags = f"--model {{{model}}} --bundle {{bundle}} --threads {{threads}} --port {{port}}"
    return Service(name, "servers", what, (str(CONTENDERS / script), *flags.split()), path)


def _ours(name: str, what: str, flags: str = "", bundle: str = "bundle") -> Service:
    words = f"serve {{{bundle}}} --port {{port}} --threads {{threads}} {flags}".split()
    return Service(name, "sentiment-ray", what, ("-c", "from sentiment_ray.cli import main; main()", *words))


INT8_BUNDLE = "int8_bundle"
"""Name of a bundle with dynamic int8, which takes part only if it is given: the gate of an export refuses this file for
most models."""
OURS = _ours("ours", "this project")
INFINITY = "v2 --model-id {checkpoint} --served-model-name model --device cpu --port {port} --host 127.0.0.1"
SERVICES = (
    OURS,
    _ours("ours-latency", "this project, optimize_for latency", "--optimize-for latency"),
    _ours("ours-fp32", "this project, fp32 file", "--variant fp32"),
    _ours("ours-int8", "this project, int8 of ONNX Runtime", "--variant int8 --engine onnxruntime", INT8_BUNDLE),
    _peer("fastapi", "serve_fastapi.py", "FastAPI + ONNX Runtime fp32", "fp32"),
    _peer("fastapi-int8", "serve_fastapi.py", "FastAPI + ONNX Runtime int8", "int8"),
    _peer("litserve", "serve_litserve.py", "LitServe + ONNX Runtime fp32", "fp32"),
    _peer("litserve-int8", "serve_litserve.py", "LitServe + ONNX Runtime int8", "int8"),
    _peer("mosec", "serve_mosec.py", "mosec + ONNX Runtime fp32", "fp32", "/inference"),
    _peer("mosec-int8", "serve_mosec.py", "mosec + ONNX Runtime int8", "int8", "/inference"),
    Service(
        "infinity",
        "infinity",
        "Infinity",
        ("-c", "from infinity_emb.cli import cli; cli()", *INFINITY.split()),
        "/classify",
        lambda text: {"model": "model", "input": [text]},
        lambda answer: max(answer["data"][0], key=lambda entry: entry["score"])["label"],
    ),
)


def make_int8(model: Path, target: Path) -> Path:
    """Write an ONNX file with dynamic int8, as ONNX Runtime documents it, unless it is there already."""
    if not target.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        target.parent.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(model, target, weight_type=QuantType.QInt8)
    return target
