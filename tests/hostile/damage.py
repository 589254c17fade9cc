"""Ways to make a bundle harmful. Each changes a copy of a real one and updates its hashes, as an attacker would."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from sentiment_ray.manifest import fingerprint
from sentiment_ray.text.truncation import HEAD

Harm = Callable[[Path], object]
Cases = dict[str, tuple[Harm, str]]
"""By name of the case: what is done to a bundle, and the pattern of the message that must refuse it."""
MODEL = "onnx/model.onnx"


def seal(path: Path, *, describe: bool = True) -> None:
    """Write the sizes and hashes of a bundle's files, and its identity, into its manifest."""
    manifest = json.loads((path / "bundle.json").read_text())
    for name, entry in manifest["files"].items() if describe else ():
        data = (path / name).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    hashes = {name: entry["sha256"] for name, entry in manifest["files"].items() if name != "README.md"}
    identity = {"files": hashes} | {key: manifest[key] for key in ("labels", "max_tokens", "steps")}
    if manifest["truncation"] != HEAD.model_dump():
        identity["truncation"] = manifest["truncation"]
    manifest["bundle_id"] = fingerprint(identity)[:16]
    (path / "bundle.json").write_text(json.dumps(manifest))


def manifest(change: Callable[[dict[str, Any]], object]) -> Harm:
    """Change the manifest, and update its identity where that is still possible."""

    def harm(path: Path) -> None:
        values = json.loads((path / "bundle.json").read_text())
        change(values)
        (path / "bundle.json").write_text(json.dumps(values))
        if {"labels", "max_tokens", "steps", "files"} <= values.keys():
            seal(path, describe=False)

    return harm


def set_keys(**values: Any) -> Harm:
    """Set keys of the manifest."""
    return manifest(lambda content: content.update(values))


def windows(**values: Any) -> Harm:
    """Let the bundle read texts in windows, with these values."""
    return set_keys(truncation={"mode": "windows", "pooling": "mean", "overlap": 0.25, "max_windows": 4} | values)


def listed(name: str, data: bytes | None = None) -> Harm:
    """List a file under a name in the manifest, and write it if `data` is given."""

    def harm(path: Path) -> None:
        if data is not None:
            (path / name).write_bytes(data)
        entry = {"sha256": hashlib.sha256(data or b"").hexdigest(), "bytes": len(data or b"")}
        manifest(lambda content: content["files"].update({name: entry}))(path)

    return harm


def variant(**values: Any) -> Harm:
    """Set keys of the plain variant."""
    return manifest(lambda content: content["variants"]["fp32"].update(values))


def entry(name: str, **values: Any) -> Harm:
    """Set keys of a file's entry in the manifest."""
    return manifest(lambda content: content["files"][name].update(values))


def gates_of_default(content: dict[str, Any]) -> list[dict[str, Any]]:
    return list(content["variants"][content["defaults"]["cpu"]["variant"]]["gate"].values())


def huge_models(content: dict[str, Any]) -> None:
    """Give a manifest more models than a bundle may have bytes."""
    for index in range(5):
        file = f"onnx/model_{index}.onnx"
        content["variants"][f"more_{index}"] = content["variants"]["fp32"] | {"file": file}
        content["files"][file] = {"sha256": "0" * 64, "bytes": (1 << 31) - 1}


def swap_labels(content: dict[str, Any]) -> None:
    """Reverse the order of the labels in a config.json."""
    labels = list(content["id2label"].values())[::-1]
    content["id2label"] = {str(index): label for index, label in enumerate(labels)}
    content["label2id"] = {label: index for index, label in enumerate(labels)}


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


def unsealed(path: Path, **values: Any) -> None:
    """Set keys of the manifest without updating its identity."""
    content = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(content | values))


def rewrite(path: Path, encoding: str) -> None:
    """Write the manifest in another encoding."""
    (path / "bundle.json").write_text((path / "bundle.json").read_text(), encoding=encoding)


def raw_manifest(text: str | bytes) -> Harm:
    return lambda path: (path / "bundle.json").write_bytes(text if isinstance(text, bytes) else text.encode())


def inserted(text: str) -> Harm:
    """Insert text after the opening brace of the manifest."""
    return lambda path: (path / "bundle.json").write_text(
        (path / "bundle.json").read_text().replace("{", "{" + text, 1)
    )


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Harm:
    """Change a JSON file of the bundle."""

    def harm(path: Path) -> None:
        values = json.loads((path / name).read_text())
        change(values)
        (path / name).write_text(json.dumps(values))
        seal(path)

    return harm


def config(**values: Any) -> Harm:
    return edited("config.json", lambda content: content.update(values))


def tokenizer(**values: Any) -> Harm:
    return edited("tokenizer.json", lambda content: content.update(values))


def tokenizer_config(**values: Any) -> Harm:
    return edited("tokenizer_config.json", lambda content: content.update(values))


def written(name: str, data: bytes) -> Harm:
    def harm(path: Path) -> None:
        (path / name).write_bytes(data)
        seal(path)

    return harm


def replaced(name: str, make: Callable[[Path], object]) -> Harm:
    """Replace a file by something else, and move the file next to the bundle."""

    def harm(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        make(path / name)

    return harm


def model(change: Callable[[ModelProto], object]) -> Harm:
    """Change the plain ONNX file."""

    def harm(path: Path) -> None:
        changed = ModelProto.FromString((path / MODEL).read_bytes())
        change(changed)
        (path / MODEL).write_bytes(changed.SerializeToString())
        seal(path)

    return harm


def model_bytes(change: Callable[[bytes], bytes]) -> Harm:
    def harm(path: Path) -> None:
        (path / MODEL).write_bytes(change((path / MODEL).read_bytes()))
        seal(path)

    return harm


def external(tensor: TensorProto, location: str = "weights.bin") -> TensorProto:
    """Return the tensor with its data in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def tensor(name: str = "extra") -> TensorProto:
    return numpy_helper.from_array(np.ones((2, 2), dtype=np.float32), name)


def sparse(values: TensorProto) -> SparseTensorProto:
    indices = numpy_helper.from_array(np.arange(4, dtype=np.int64), "indices")
    return SparseTensorProto(values=values, indices=indices, dims=[4])


def graph_with(value: TensorProto, depth: int = 0) -> Any:
    """Return a graph with a tensor, nested in `depth` nodes that each hold a graph."""
    graph = helper.make_graph([helper.make_node("Constant", [], ["inner"], value=value)], "body", [], [])
    for _ in range(depth):
        inner = NodeProto(op_type="If", attribute=[attribute("then_branch", g=graph)])
        graph = helper.make_graph([inner], "body", [], [])
    return graph


def attribute(name: str, **content: Any) -> AttributeProto:
    return AttributeProto(name=name, **content)


def added_node(op_type: str, *attributes: AttributeProto, domain: str = "") -> Harm:
    """Add a node whose output is not used."""
    added = NodeProto(op_type=op_type, domain=domain, name="added", output=["unread"], attribute=attributes)
    return model(lambda proto: proto.graph.node.append(added))


def shaped(*dims: int, data_type: int = TensorProto.FLOAT) -> Harm:
    """Add an initializer of four bytes that claims a shape."""
    added = TensorProto(name="claimed", dims=dims, data_type=data_type, raw_data=b"\0" * 4)
    return model(lambda proto: proto.graph.initializer.append(added))


def varint(number: int) -> bytes:
    """Return a number as a varint of protocol buffers."""
    parts = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


def message(number: int, content: bytes) -> bytes:
    """Return a protocol buffer field with bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def in_graph(field: bytes) -> Harm:
    """Append a field to the graph."""

    def change(data: bytes) -> bytes:
        proto = ModelProto.FromString(data)
        graph = proto.graph.SerializeToString()
        proto.ClearField("graph")
        return proto.SerializeToString() + message(7, graph + field)

    return model_bytes(change)
