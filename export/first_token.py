"""Rewrites an ONNX graph to compute only the first token's row where no other row is used. Knows no architecture.

The classifier of an encoder reads the first token only. So after the last layer's keys and values, all other rows are
computed for nothing: about a sixth of the work of a model with six layers. Operators stay the same and get fewer rows.
"""

from collections import defaultdict
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

ELEMENTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Sqrt", "Relu", "Gelu", "Cast", "Where"))
ALONG_LAST_AXIS = frozenset(("LayerNormalization", "Softmax"))

CUT_SUFFIX = "_first"
"""Ends the name of a tensor that holds the first row of another one. All that is computed from it has one row."""

Shapes = dict[str, list[int | None]]
Constants = dict[str, np.ndarray]
Cuts = dict[int, int]
"""By number of a node's input: the axis along which only index 0 of it is needed."""


def keep_first_token(model: ModelProto) -> ModelProto:
    """Return a model with equal outputs that computes only the first row of tensors of which no other row is used.

    The search starts at the node that takes index 0 of axis 1. It moves up through operators that treat each row on
    its own, until one needs all rows, as the last layer's keys and values do. There the first row is cut out.
    """
    model = shape_inference.infer_shapes(_fold_static_dimensions(model), data_prop=True)
    shapes, constants = _shapes(model), _constants(model)
    wanted: dict[str, set[int | None]] = defaultdict(set)
    for output in model.graph.output:
        wanted[output.name].add(None)
    cuts_by_output: dict[str, Cuts] = {}
    for node in reversed(model.graph.node):
        axes = {axis for name in node.output for axis in wanted[name]}
        axis = axes.pop() if len(axes) == 1 else None
        cuts = None if axis is None else _find_cuts(node, axis, shapes, constants)
        if cuts is not None:
            cuts_by_output[node.output[0]] = cuts
        elif _takes_first_row(node, shapes, constants):
            cuts = {0: 1}
        for index, name in enumerate(node.input):
            wanted[name].add((cuts or {}).get(index))
    nodes = [part for node in model.graph.node for part in _rewrite(node, cuts_by_output, shapes)]
    return _with_nodes(model, nodes)


def find_first_row_tensors(model: ModelProto) -> set[str]:
    """Return the names of the tensors that hold one row for each text, in a graph that `keep_first_token` returned."""
    names: set[str] = set()
    for node in model.graph.node:
        if node.output[0].endswith(CUT_SUFFIX) or names.intersection(node.input):
            names.update(node.output)
    return names


def _takes_first_row(node: NodeProto, shapes: Shapes, constants: Constants) -> bool:
    """Whether a node takes index 0 along axis 1 of `(batch, tokens, width)`."""
    if node.op_type != "Gather" or _attribute(node, "axis", 0) != 1:
        return False
    index = constants.get(node.input[1])
    return len(shapes.get(node.input[0], [])) == 3 and index is not None and index.ndim == 0 and int(index) == 0


def _find_cuts(node: NodeProto, axis: int, shapes: Shapes, constants: Constants) -> Cuts | None:
    """Return which inputs may be cut when only index 0 of the output along `axis` is used; None if none may."""
    if any(name not in shapes for name in [*node.input, node.output[0]] if name):
        return None
    rank = len(shapes[node.output[0]])
    source = shapes[node.input[0]] if node.input else []
    if node.op_type in ELEMENTWISE:
        aligned = {index: axis - rank + len(shapes[name]) for index, name in enumerate(node.input)}
        return {
            index: input_axis
            for index, input_axis in aligned.items()
            if input_axis >= 0 and shapes[node.input[index]][input_axis] != 1 and node.input[index] not in constants
        }
    if node.op_type in ALONG_LAST_AXIS and _attribute(node, "axis", -1) in (-1, rank - 1) and axis != rank - 1:
        return {0: axis}
    if node.op_type == "MatMul" and len(source) == rank and axis == rank - 2:
        return {0: axis}
    if node.op_type == "Transpose":
        return {0: _attribute(node, "perm", range(rank)[::-1])[axis]}
    if node.op_type == "Reshape" and _keeps_rows(source, shapes[node.output[0]], axis):
        return {0: axis}
    return None


def _keeps_rows(source: list[int | None], target: list[int | None], axis: int) -> bool:
    """Whether a reshape splits or joins only the axes after `axis`."""
    later = [source[axis + 1 :], target[axis + 1 :]]
    known = all(size is not None for sizes in later for size in sizes)
    return axis == 1 and known and len(source) > 2 and len(target) > 2 and prod(later[0]) == prod(later[1])  # type: ignore[arg-type]


def _rewrite(node: NodeProto, cuts_by_output: dict[str, Cuts], shapes: Shapes) -> list[NodeProto]:
    """Return a node with its inputs cut, after the nodes that cut them where the producer still gives all rows."""
    cuts = cuts_by_output.get(node.output[0])
    if cuts is None:
        return [node]
    before: list[NodeProto] = []
    for index, axis in cuts.items():
        name = node.input[index]
        if name in cuts_by_output:
            continue
        limits = {key: f"{node.output[0]}_{index}_{key}" for key in ("starts", "ends", "axes")}
        before += [_constant(limits[key], [value]) for key, value in zip(limits, (0, 1, axis), strict=True)]
        node.input[index] = f"{node.output[0]}_{index}{CUT_SUFFIX}"
        before.append(helper.make_node("Slice", [name, *limits.values()], [node.input[index]]))
    if node.op_type == "Reshape":
        node.input[1] = f"{node.output[0]}_shape"
        later = [size or 0 for size in shapes[node.output[0]][2:]]
        before.append(_constant(node.input[1], [0, 1, *later]))
    return [*before, node]


def _fold_static_dimensions(model: ModelProto) -> ModelProto:
    """Return the model with known sizes, such as the width of a head, as constants instead of read from tensors."""
    shapes, constants = _shapes(shape_inference.infer_shapes(model, data_prop=True)), _constants(model)
    source_shapes = {node.output[0]: shapes.get(node.input[0]) for node in model.graph.node if node.op_type == "Shape"}
    nodes = []
    for node in model.graph.node:
        sizes = source_shapes.get(node.input[0]) if node.op_type == "Slice" else None
        limits = [constants.get(name) for name in node.input[1:]]
        if sizes is not None and len(limits) in (2, 3) and all(limit is not None for limit in limits):
            chosen = sizes[int(limits[0][0]) : int(limits[1][0])]  # type: ignore[index]
            if chosen and None not in chosen:
                node = _constant(node.output[0], [size or 0 for size in chosen])
        nodes.append(node)
    return _with_nodes(model, nodes)


def _with_nodes(model: ModelProto, nodes: list[NodeProto]) -> ModelProto:
    """Return the model with these nodes, without those whose outputs are never used."""
    used = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(nodes):
        if used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    changed = ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:], changed.graph.value_info[:]
    changed.graph.node.extend(reversed(kept))
    return changed


def _shapes(model: ModelProto) -> Shapes:
    graph = model.graph
    shapes: Shapes = {value.name: list(value.dims) for value in graph.initializer}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            shapes[value.name] = [size.dim_value if size.HasField("dim_value") else None for size in sizes]
    return shapes


def _constants(model: ModelProto) -> Constants:
    constants = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def _constant(name: str, values: list[int]) -> NodeProto:
    tensor = numpy_helper.from_array(np.array(values, dtype=np.int64), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    values = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return values[0] if values else default
