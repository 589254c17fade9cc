"""Refuses an ONNX file that refers to other files or is not what an export writes. Runs nothing, copies no tensor.

It reads the wire format (https://protobuf.dev/programming-guides/encoding) by the field numbers of onnx.proto3
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3). Only fields that exported encoders have may pass, each once
unless it is a repeated field, so an engine cannot find anything in a file that was not checked here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from sentiment_ray.errors import BundleError

VARINT, I64, LEN, I32 = 0, 1, 2, 5
"""Wire types."""

NUMBER, NUMBERS, PACKED = ((VARINT,), False), ((VARINT,), True), ((VARINT, LEN), True)
ONE, MANY = ((LEN,), False), ((LEN,), True)
FLOAT, FLOATS, DOUBLES = ((I32,), False), ((I32, LEN), True), ((I64, LEN), True)
NEVER: tuple[tuple[int, ...], bool] = ((), False)
"""The wire types that a field may have, and whether it is repeated. A field that names files or code may never come."""

MODEL = {
    1: ("ir_version", NUMBER), 2: ("producer_name", ONE), 3: ("producer_version", ONE), 4: ("domain", ONE),
    5: ("model_version", NUMBER), 6: ("doc_string", ONE), 7: ("graph", ONE), 8: ("opset_import", MANY),
    14: ("metadata_props", MANY), 20: ("training_info", NEVER), 25: ("functions", NEVER), 26: ("configuration", NEVER),
}  # fmt: skip
OPERATOR_SET = {1: ("domain", ONE), 2: ("version", NUMBER)}
GRAPH = {
    1: ("node", MANY), 2: ("name", ONE), 5: ("initializer", MANY), 10: ("doc_string", ONE), 11: ("input", MANY),
    12: ("output", MANY), 13: ("value_info", MANY), 14: ("quantization_annotation", NEVER),
    15: ("sparse_initializer", NEVER), 16: ("metadata_props", MANY),
}  # fmt: skip
NODE = {
    1: ("input", MANY), 2: ("output", MANY), 3: ("name", ONE), 4: ("op_type", ONE), 5: ("attribute", MANY),
    6: ("doc_string", ONE), 7: ("domain", ONE), 8: ("overload", NEVER), 9: ("metadata_props", MANY),
    10: ("device_configurations", NEVER),
}  # fmt: skip
ATTRIBUTE = {
    1: ("name", ONE), 2: ("f", FLOAT), 3: ("i", NUMBER), 4: ("s", ONE), 5: ("t", ONE), 6: ("g", NEVER),
    7: ("floats", FLOATS), 8: ("ints", PACKED), 9: ("strings", MANY), 10: ("tensors", NEVER), 11: ("graphs", NEVER),
    13: ("doc_string", ONE), 14: ("tp", NEVER), 15: ("type_protos", NEVER), 20: ("type", NUMBER),
    21: ("ref_attr_name", NEVER), 22: ("sparse_tensor", NEVER), 23: ("sparse_tensors", NEVER),
}  # fmt: skip
TENSOR = {
    1: ("dims", NUMBERS), 2: ("data_type", NUMBER), 3: ("segment", NEVER), 4: ("float_data", FLOATS),
    5: ("int32_data", PACKED), 6: ("string_data", NEVER), 7: ("int64_data", PACKED), 8: ("name", ONE),
    9: ("raw_data", ONE), 10: ("double_data", DOUBLES), 11: ("uint64_data", PACKED), 12: ("doc_string", ONE),
    13: ("external_data", NEVER), 14: ("data_location", NUMBER), 16: ("metadata_props", MANY),
}  # fmt: skip
VALUE = {1: ("name", ONE), 2: ("type", ONE), 3: ("doc_string", ONE), 4: ("metadata_props", MANY)}
TYPE = {1: ("tensor_type", ONE), 6: ("denotation", ONE)}
TENSOR_TYPE = {1: ("elem_type", NUMBER), 2: ("shape", ONE)}
SHAPE = {1: ("dim", MANY)}
DIMENSION = {1: ("dim_value", NUMBER), 2: ("dim_param", ONE), 3: ("denotation", ONE)}
UNKNOWN = ("an unknown field", NEVER)

IR_VERSIONS = range(7, 11)
MICROSOFT = "com.microsoft"
OPSETS = {"": range(14, 22), "ai.onnx": range(14, 22), MICROSOFT: range(1, 2)}
"""The known versions of the operators, by domain. The export writes 18."""
DECLARED = (
    "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft.experimental",
    "com.microsoft.nchwc", "org.pytorch.aten",
)  # fmt: skip
"""Domains that ONNX Runtime declares in every file that it optimises. None of their operators may be used."""
FUSED = (
    "Attention", "MultiHeadAttention", "QAttention", "BiasGelu", "FastGelu", "Gelu", "GemmFastGelu", "QuickGelu",
    "SkipLayerNormalization", "EmbedLayerNormalization", "QEmbedLayerNormalization", "SkipSimplifiedLayerNormalization",
    "FusedMatMul", "FusedGemm", "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "RotaryEmbedding",
)  # fmt: skip
"""Operators of com.microsoft that ONNX Runtime's tools write for encoders. All depend on their inputs alone.

EPContext, for example, does not: it names a file.
"""
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
"""Bytes of one item, by data type: float, uint8, int8, int32, int64, bool, float16, double."""
INT64, LOGIT_TYPES = 7, (1, 10)
TYPED_DATA = {"float_data": 4, "int32_data": 1, "int64_data": 1, "double_data": 8, "uint64_data": 1}
"""The fields that may hold items instead of raw_data, and the smallest size of an item in bytes."""
REQUIRED_INPUTS = {"input_ids", "attention_mask"}
INPUTS = REQUIRED_INPUTS | {"token_type_ids"}
MAX_NAME_CHARACTERS = 200
MAX_MESSAGE_CHARACTERS = 500
MAX_RANK = 8
MAX_DIMENSION = 1 << 31
MAX_FIELDS = 500_000
"""Many times what an encoder has. A file of tiny fields must not cost hours and gigabytes."""

Message = Mapping[int, tuple[str, tuple[tuple[int, ...], bool]]]
Fields = dict[str, list[Any]]


def scan_model(data: bytes, source: str, *, num_labels: int) -> None:
    """Refuse an ONNX file that an engine must not see. BundleError names the file, the node or tensor, and the reason.

    Refused are external data, sparse tensors, subgraphs, functions, unknown operators or versions, tensors whose size
    differs from their shape, inputs and outputs other than an encoder's, and bytes that are not a protocol buffer.
    """
    scan = _Scan(source)
    model = scan.read_fields(memoryview(data), MODEL, "the model")
    version = _first(model, "ir_version", 0)
    if version not in IR_VERSIONS:
        scan.refuse("the model", f"has IR version {version}, known are {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}")
    if not [view for view in model.get("opset_import", []) if _check_opset(scan, view) in ("", "ai.onnx")]:
        scan.refuse("the model", "imports no version of ONNX's own operators")
    graph = scan.read_fields(_first(model, "graph", memoryview(b"")), GRAPH, "the graph")
    for view in graph.get("node", []):
        _check_node(scan, view)
    for view in graph.get("initializer", []):
        _check_tensor(scan, view, "initializer")
    inputs = {name: kind for name, kind, _ in (_read_port(scan, view, "input") for view in graph.get("input", []))}
    if not REQUIRED_INPUTS <= inputs.keys() <= INPUTS or set(inputs.values()) != {INT64}:
        scan.refuse("the graph", f"has the inputs {sorted(inputs)} instead of {sorted(INPUTS)} in int64")
    outputs = [_read_port(scan, view, "output") for view in graph.get("output", [])]
    if [(name, kind in LOGIT_TYPES, width) for name, kind, width in outputs] != [("logits", True, num_labels)]:
        described = ", ".join(f"{name} (type {kind}, width {width})" for name, kind, width in outputs)
        scan.refuse("the graph", f"has the outputs {described or 'none'} instead of logits of width {num_labels}")


@dataclass
class _Scan:
    """One file while it is read: its name for messages, and how many more fields it may have."""

    source: str
    fields_left: int = MAX_FIELDS

    def refuse(self, where: str, reason: str) -> NoReturn:
        raise BundleError(f"{self.source}: {where} {reason[:MAX_MESSAGE_CHARACTERS]}. Export the bundle again.")

    def read_fields(self, view: memoryview, message: Message, where: str) -> Fields:
        """Return the fields of a message by name: numbers as int, everything else as a slice of `view`."""
        fields: Fields = {}
        position = 0
        while position < len(view):
            self.fields_left -= 1
            if self.fields_left < 0:
                self.refuse(where, f"has more fields than any encoder: the file has over {MAX_FIELDS:,}")
            try:
                tag, position = _read_varint(view, position)
                value, position = _read_value(view, position, tag & 7)
            except IndexError:
                self.refuse(where, "is cut off or not a protocol buffer")
            name, (wires, repeated) = message.get(tag >> 3, UNKNOWN)
            if not wires:
                self.refuse(f"{where} {_text(fields, 'name')!r}", f"holds {name}, which no exported encoder has")
            if tag & 7 not in wires or (name in fields and not repeated):
                self.refuse(where, f"holds {name} twice or in another form than ONNX has")
            fields.setdefault(name, []).append(value)
        return fields


def _check_opset(scan: _Scan, view: memoryview) -> str:
    """Return the domain of an opset import, after checking that the domain and the version are known."""
    opset = scan.read_fields(view, OPERATOR_SET, "an opset import")
    domain, version = _text(opset, "domain"), _first(opset, "version", 0)
    if domain not in DECLARED and version not in OPSETS.get(domain, ()):
        scan.refuse("the model", f"imports the unknown version {version} of the operators of {domain or 'ai.onnx'!r}")
    return domain


def _check_node(scan: _Scan, view: memoryview) -> None:
    node = scan.read_fields(view, NODE, "a node")
    domain, operator = _text(node, "domain"), _text(node, "op_type")
    where = f"node {_text(node, 'name') or _text(node, 'output')!r} ({operator!r})"
    if domain not in OPSETS or (domain == MICROSOFT and operator not in FUSED):
        scan.refuse(where, f"is an operator of the domain {domain!r} that no export writes")
    for attribute in node.get("attribute", []):
        values = scan.read_fields(attribute, ATTRIBUTE, f"{where}: attribute")
        for tensor in values.get("t", []):
            _check_tensor(scan, tensor, f"{where}: tensor")


def _check_tensor(scan: _Scan, view: memoryview, where: str) -> None:
    tensor = scan.read_fields(view, TENSOR, where)
    where = f"{where} {_text(tensor, 'name')!r}"
    if _first(tensor, "data_location", 0) != 0:
        scan.refuse(where, "keeps its data in another file (data_location)")
    dims = [size - (size >> 63 << 64) for size in tensor.get("dims", [])]  # as signed numbers of 64 bits
    item_bytes = ITEM_BYTES.get(_first(tensor, "data_type", 0))
    if item_bytes is None or len(dims) > MAX_RANK or not all(0 <= size < MAX_DIMENSION for size in dims):
        scan.refuse(where, f"has data type {_first(tensor, 'data_type', 0)} and the shape {dims[: MAX_RANK + 1]}")
    num_items = prod(dims)
    if "raw_data" in tensor:
        fits = len(tensor["raw_data"][0]) == num_items * item_bytes
    else:  # numbers of variable length have a byte each at least
        fits = num_items <= sum(_num_items(name, value) for name in TYPED_DATA for value in tensor.get(name, []))
    if not fits:
        scan.refuse(where, f"claims the shape {dims}, which is not what its bytes hold")


def _read_port(scan: _Scan, view: memoryview, where: str) -> tuple[str, int, int]:
    """Return name, data type and width (the last dimension) of an input or output; 0 for a number that is not given."""
    value = scan.read_fields(view, VALUE, where)
    kind = scan.read_fields(_first(value, "type", memoryview(b"")), TYPE, where)
    tensor = scan.read_fields(_first(kind, "tensor_type", memoryview(b"")), TENSOR_TYPE, where)
    sizes = scan.read_fields(_first(tensor, "shape", memoryview(b"")), SHAPE, where).get("dim", [])
    last = scan.read_fields(sizes[-1], DIMENSION, where) if len(sizes) == 2 else {}
    return _text(value, "name"), _first(tensor, "elem_type", 0), _first(last, "dim_value", 0)


def _first(fields: Fields, name: str, default: Any) -> Any:
    return fields[name][0] if name in fields else default


def _text(fields: Fields, name: str) -> str:
    return str(_first(fields, name, b"")[:MAX_NAME_CHARACTERS], "utf-8", "replace")


def _num_items(name: str, value: int | memoryview) -> int:
    """Return how many items one field of typed data can hold at most."""
    return len(value) // TYPED_DATA[name] if isinstance(value, memoryview) else 1


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the unsigned number at a position and the position after it. IndexError when there is none."""
    byte = view[position]
    if byte < 128:
        return byte, position + 1
    number = byte & 127
    for shift in range(7, 70, 7):
        position += 1
        byte = view[position]
        number |= (byte & 127) << shift
        if byte < 128 and number < 1 << 64:
            return number, position + 1
    raise IndexError


def _read_value(view: memoryview, position: int, wire: int) -> tuple[int | memoryview, int]:
    """Return the value of a wire type at a position and the position after it. IndexError when it does not fit."""
    if wire == VARINT:
        return _read_varint(view, position)
    if wire == LEN:
        size, position = _read_varint(view, position)
    elif wire in (I32, I64):
        size = 4 if wire == I32 else 8
    else:
        raise IndexError
    if position + size > len(view):
        raise IndexError
    return view[position : position + size], position + size
