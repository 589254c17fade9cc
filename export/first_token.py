"""Rewrites an ONNX graph to compute the first token's row alone where no other row is used; knows no architecture.

The classifier of an encoder reads the first token, so behind the last layer's keys and values every other row is work
for nothing: about a sixth of a model of six layers. Operators stay what they are and get fewer rows.
"""

from collections import defaultdict
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

ELEMENTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Sqrt", "Relu", "Gelu", "Cast", "Where"))
ALONG_LAST_AXIS = frozenset(("LayerNormalization", "Softmax"))

CUT = "_first"
"""How the name of a tensor ends that holds the first row of another; all that is made of it has one row."""

Shapes = dict[str, list[int | None]]
Constants = dict[str, np.ndarray]
Cuts = dict[int, int]
"""Inputs of a node by number, and the axis along which each is needed at place 0 alone."""


def keep_first_token(model: ModelProto) -> ModelProto:
    """Return the model with all that only the first row is used of computed for that row alone; its outputs are equal.

    From the node that takes place 0 of axis 1 the choice moves up through operators that treat rows one by one, until
    one needs them all, as the last layer's keys and values do; above it the first row is cut out.
    """
    model = shape_inference.infer_shapes(_fold_static_dimensions(model), data_prop=True)
    shapes, constants = _shapes(model), _constants(model)
    wanted: dict[str, set[int | None]] = defaultdict(set)
    for output in model.graph.output:
        wanted[output.name].add(None)
    cuts_of: dict[str, Cuts] = {}
    for node in reversed(model.graph.node):
        axes = {axis for name in node.output for axis in wanted[name]}
        axis = axes.pop() if len(axes) == 1 else None
        cuts = None if axis is None else _cuts(node, axis, shapes, constants)
        if cuts is not None:
            cuts_of[node.output[0]] = cuts
        elif _takes_first_row(node, shapes, constants):
            cuts = {0: 1}
        for index, name in enumerate(node.input):
            wanted[name].add((cuts or {}).get(index))
    nodes = [part for node in model.graph.node for part in _rewritten(node, cuts_of, shapes)]
    return _with_nodes(model, nodes)


def made_of_first_row(model: ModelProto) -> set[str]:
    """Return the tensors of a graph of `keep_first_token` that hold one row a text, by what they are made of."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.output[0].endswith(CUT) or found.intersection(node.input):
            found.update(node.output)
    return found


def _takes_first_row(node: NodeProto, shapes: Shapes, constants: Constants) -> bool:
    """Whether a node takes place 0 along axis 1 of `(batch, tokens, width)`."""
    if node.op_type != "Gather" or _attribute(node, "axis", 0) != 1:
        return False
    place = constants.get(node.input[1])
    return len(shapes.get(node.input[0], [])) == 3 and place is not None and place.ndim == 0 and int(place) == 0


def _cuts(node: NodeProto, axis: int, shapes: Shapes, constants: Constants) -> Cuts | None:
    """Return which inputs may be cut for place 0 of the output along `axis`; None where the node needs more of them."""
    if any(name not in shapes for name in [*node.input, node.output[0]] if name):
        return None
    rank = len(shapes[node.output[0]])
    source = shapes[node.input[0]] if node.input else []
    if node.op_type in ELEMENTWISE:
        aligned = {index: axis - rank + len(shapes[name]) for index, name in enumerate(node.input)}
        return {
            index: place
            for index, place in aligned.items()
            if place >= 0 and shapes[node.input[index]][place] != 1 and node.input[index] not in constants
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
    """Whether a reshape splits or joins only what is behind `axis`."""
    behind = [source[axis + 1 :], target[axis + 1 :]]
    known = all(size is not None for sizes in behind for size in sizes)
    return axis == 1 and known and len(source) > 2 and len(target) > 2 and prod(behind[0]) == prod(behind[1])  # type: ignore[arg-type]


def _rewritten(node: NodeProto, cuts_of: dict[str, Cuts], shapes: Shapes) -> list[NodeProto]:
    """Return a node with its inputs cut, behind the nodes that do it where the node above still gives all rows."""
    cuts = cuts_of.get(node.output[0])
    if cuts is None:
        return [node]
    before: list[NodeProto] = []
    for index, axis in cuts.items():
        name = node.input[index]
        if name in cuts_of:
            continue
        limits = {key: f"{node.output[0]}_{index}_{key}" for key in ("starts", "ends", "axes")}
        before += [_constant(limits[key], [value]) for key, value in zip(limits, (0, 1, axis), strict=True)]
        node.input[index] = f"{node.output[0]}_{index}{CUT}"
        before.append(helper.make_node("Slice", [name, *limits.values()], [node.input[index]]))
    if node.op_type == "Reshape":
        node.input[1] = f"{node.output[0]}_shape"
        behind = [size or 0 for size in shapes[node.output[0]][2:]]
        before.append(_constant(node.input[1], [0, 1, *behind]))
    return [*before, node]


def _fold_static_dimensions(model: ModelProto) -> ModelProto:
    """Return the model with sizes that are known, such as a head's width, as constants instead of read from tensors."""
    shapes, constants = _shapes(shape_inference.infer_shapes(model, data_prop=True)), _constants(model)
    shape_of = {node.output[0]: shapes.get(node.input[0]) for node in model.graph.node if node.op_type == "Shape"}
    nodes = []
    for node in model.graph.node:
        sizes = shape_of.get(node.input[0]) if node.op_type == "Slice" else None
        limits = [constants.get(name) for name in node.input[1:]]
        if sizes is not None and len(limits) in (2, 3) and all(limit is not None for limit in limits):
            chosen = sizes[int(limits[0][0]) : int(limits[1][0])]  # type: ignore[index]
            if chosen and None not in chosen:
                node = _constant(node.output[0], [size or 0 for size in chosen])
        nodes.append(node)
    return _with_nodes(model, nodes)


def _with_nodes(model: ModelProto, nodes: list[NodeProto]) -> ModelProto:
    """Return the model with these nodes, less those whose outputs nobody uses."""
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
    found = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default
