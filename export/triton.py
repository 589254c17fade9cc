"""Writes a Triton model repository from a bundle, one model for each variant. Does not know how a bundle is made."""

import re
from pathlib import Path

import onnx

from sentiment_ray.atomic_files import new_directory
from sentiment_ray.bundle.manifest import MANIFEST_NAME
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.manifest import find_finished_result
from sentiment_ray.text.encoding import parse_encoder

MAX_BATCH_SIZE = 256
LABELS_NAME = "labels.txt"
OWN_FILES = re.compile(r"bundle\.json|sentiment_\w+/(config\.pbtxt|labels\.txt|tokenizer\.json|1/model\.onnx)")
"""The files of a repository. One with other files in it is not replaced."""
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

    Each variant that passed its gate with ONNX Runtime becomes a model that takes token ids and returns logits.
    tokenizer.json and the parameters say how a client makes the ids. Triton itself batches requests of one length
    (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html).
    ConfigError when `target` holds something else and `restart` does not allow to replace it.
    """
    finished = find_finished_result(
        target,
        MANIFEST_NAME,
        bundle.manifest.fingerprint,
        restart=restart,
        own_files=OWN_FILES.fullmatch,
    )
    if finished and (target / MANIFEST_NAME).read_bytes() == bundle.contents[MANIFEST_NAME]:
        return  # the manifests differ when other releases exported the same run
    with new_directory(target) as directory:
        (directory / MANIFEST_NAME).write_bytes(bundle.contents[MANIFEST_NAME])
        for name, variant in bundle.manifest.variants.items():
            if variant.gate.get("onnxruntime", {}).get("passed"):
                model = directory / f"sentiment_{name}"
                (model / "1").mkdir(parents=True)
                graph = bundle.model(name)
                (model / "1/model.onnx").write_bytes(graph)
                (model / "config.pbtxt").write_text(_make_config(bundle, graph), encoding="utf-8")
                (model / LABELS_NAME).write_text("\n".join(bundle.manifest.labels) + "\n", encoding="utf-8")
                (model / "tokenizer.json").write_bytes(bundle.tokenizer)


def _make_config(bundle: Bundle, model: bytes) -> str:
    """Return config.pbtxt: the graph's inputs, one row of logits for each text, and what a client must know."""
    inputs = [
        f'  {{ name: "{value.name}", data_type: {TYPES[value.type.tensor_type.elem_type]}, dims: [ -1 ] }}'
        for value in onnx.load_from_string(model).graph.input
    ]
    manifest = bundle.manifest
    source = str(bundle.path / "tokenizer.json")
    encoder = parse_encoder(bundle.tokenizer, max_tokens=manifest.max_tokens, source=source)
    values = {
        "bundle_id": manifest.bundle_id,
        "max_tokens": manifest.max_tokens,
        "pad_id": encoder.pad_id,
        **{f"truncation_{key}": value for key, value in manifest.truncation.model_dump().items()},
        "steps": ",".join(manifest.steps),
    }
    parameters = [f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in values.items()]
    return CONFIG.format(
        max_batch_size=MAX_BATCH_SIZE,
        inputs=",\n".join(inputs),
        num_labels=len(manifest.labels),
        labels_name=LABELS_NAME,
        parameters="\n".join(parameters),
    )
