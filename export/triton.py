"""A Triton model repository from a bundle, a model a variant; knows nothing of how the bundle was made."""

import shutil
from pathlib import Path

import onnx

from sentiment_ray.bundle.manifest import MANIFEST_NAME
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.manifest import finished_result, new_directory
from sentiment_ray.text.encoding import load_encoder

MAX_BATCH_SIZE = 256
LABELS_NAME = "labels.txt"
TYPES = {onnx.TensorProto.INT64: "TYPE_INT64", onnx.TensorProto.INT32: "TYPE_INT32"}
CONFIG = """\
backend: "onnxruntime"
max_batch_size: {max_batch_size}
input [
{inputs}
]
output [
  {{ name: "logits", data_type: TYPE_FP32, dims: [ {num_labels} ], label_filename: "{labels_name}" }}
]
dynamic_batching {{ }}
{parameters}
"""


def write_triton(bundle: Bundle, target: Path, *, restart: bool) -> None:
    """Write `target`/sentiment_VARIANT/{config.pbtxt, labels.txt, tokenizer.json, 1/model.onnx}, whole or not at all.

    Each variant that passed its gate with ONNX Runtime is a model that takes tokens and gives logits; tokenizer.json
    and the parameters say how tokens are made. Triton batches requests of one length by itself
    (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html).
    ConfigError when something else is there and `restart` does not allow it to be replaced.
    """
    found = finished_result(target, MANIFEST_NAME, bundle.manifest.fingerprint, restart=restart)
    if found and (target / MANIFEST_NAME).read_bytes() == (bundle.path / MANIFEST_NAME).read_bytes():
        return  # else the same run was exported again, by other releases
    with new_directory(target) as directory:
        shutil.copy(bundle.path / MANIFEST_NAME, directory)
        for name, variant in bundle.manifest.variants.items():
            if variant.gate.get("onnxruntime", {}).get("passed"):
                model = directory / f"sentiment_{name}"
                (model / "1").mkdir(parents=True)
                shutil.copy(bundle.path / variant.file, model / "1/model.onnx")
                (model / "config.pbtxt").write_text(_config(bundle, name), encoding="utf-8")
                (model / LABELS_NAME).write_text("\n".join(bundle.manifest.labels) + "\n", encoding="utf-8")
                (model / "tokenizer.json").write_bytes(bundle.tokenizer)


def _config(bundle: Bundle, variant: str) -> str:
    """Return config.pbtxt: the graph's own inputs, a row of logits for each text, and what a client must know."""
    graph = onnx.load_from_string(bundle.model(variant)).graph
    inputs = [
        f'  {{ name: "{value.name}", data_type: {TYPES[value.type.tensor_type.elem_type]}, dims: [ -1 ] }}'
        for value in graph.input
    ]
    manifest = bundle.manifest
    encoder = load_encoder(bundle.path / "tokenizer.json", max_tokens=manifest.max_tokens)
    known = {
        "bundle_id": manifest.bundle_id,
        "max_tokens": manifest.max_tokens,
        "pad_id": encoder.pad_id,
        **{f"truncation_{key}": value for key, value in manifest.truncation.model_dump().items()},
        "steps": ",".join(manifest.steps),
    }
    parameters = [f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in known.items()]
    return CONFIG.format(
        max_batch_size=MAX_BATCH_SIZE,
        inputs=",\n".join(inputs),
        num_labels=len(manifest.labels),
        labels_name=LABELS_NAME,
        parameters="\n".join(parameters),
    )
