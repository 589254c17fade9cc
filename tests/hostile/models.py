"""Hostile bundles with a fault in their plain ONNX file."""

from pathlib import Path

from onnx import ModelProto, NodeProto, TensorAnnotation, TensorProto, TrainingInfoProto, TypeProto, helper

from tests.hostile.damage import (
    Cases,
    Harm,
    added_node,
    attribute,
    external,
    graph_with,
    in_graph,
    message,
    model,
    model_bytes,
    shaped,
    sparse,
    tensor,
    varint,
)

STRING, FLOAT = TensorProto.STRING, TensorProto.FLOAT


def _initializer(location: str) -> Harm:
    return model(lambda proto: external(proto.graph.initializer[0], location))


def _constant(change: str) -> Harm:
    def harm(proto: ModelProto) -> None:
        constant = next(node for node in proto.graph.node if node.op_type == "Constant")
        external(constant.attribute[0].t, change)

    return model(harm)


def _linked_weights(path: Path) -> None:
    (path.parent / "weights.bin").symlink_to("/dev/zero")
    _initializer("../../weights.bin")(path)


def _hard_linked_weights(path: Path) -> None:
    (path / "onnx/weights.bin").hardlink_to(path / "tokenizer.json")
    _initializer("weights.bin")(path)


def _function(value: TensorProto) -> Harm:
    body = helper.make_node("Constant", [], ["made"], value=value)
    made = helper.make_function("local", "Call", [], ["made"], [body], [helper.make_opsetid("", 18)])
    return model(lambda proto: proto.functions.append(made))


def _opset(domain: str, version: int) -> Harm:
    return model(lambda proto: proto.opset_import.append(helper.make_opsetid(domain, version)))


def _input(name: str, data_type: int) -> Harm:
    return model(lambda proto: proto.graph.input.append(helper.make_tensor_value_info(name, data_type, [1])))


def _many_nodes(_: bytes) -> bytes:
    head = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 18)]).SerializeToString()
    return head + message(7, b"\x0a\x00" * 600_000)


EXTERNAL: Cases = {
    "external data": (_initializer("weights.bin"), "initializer '.+' holds external_data"),
    "external data at an absolute path": (_initializer("/etc/passwd"), "initializer '.+' holds external_data"),
    "external data in a parent directory": (
        _initializer("../../../etc/passwd"),
        "initializer '.+' holds external_data",
    ),
    "external data behind a link": (_linked_weights, "initializer '.+' holds external_data"),
    "external data in a hard link": (_hard_linked_weights, "is a hard link"),
    "external data without a location": (
        model(lambda proto: setattr(proto.graph.initializer[0], "data_location", TensorProto.EXTERNAL)),
        "initializer '.+' keeps its data in another file",
    ),
    "a location for data that is said to be inside": (
        model(lambda proto: proto.graph.initializer[0].external_data.add(key="location", value="x")),
        "initializer '.+' holds external_data",
    ),
    "a data location that C++ truncates to external": (
        in_graph(message(5, tensor().SerializeToString() + b"\x70" + varint((1 << 32) + 1))),
        "initializer 'extra' keeps its data in another file",
    ),
    "external data in a constant": (
        _constant("weights.bin"),
        r"node '.+' \('Constant'\): tensor '.*' holds external_data",
    ),
    "external data in a sparse initializer": (
        model(lambda proto: proto.graph.sparse_initializer.append(sparse(external(tensor("s"))))),
        "the graph .* holds sparse_initializer",
    ),
    "a sparse initializer": (
        model(lambda proto: proto.graph.sparse_initializer.append(sparse(tensor("s")))),
        "the graph .* holds sparse_initializer",
    ),
    "external data in a sparse constant": (
        added_node("Constant", attribute("sparse_value", sparse_tensor=sparse(external(tensor())))),
        r"node 'added' \('Constant'\): attribute 'sparse_value' holds sparse_tensor",
    ),
    "external data in a branch": (
        added_node("If", attribute("then_branch", g=graph_with(external(tensor())))),
        r"node 'added' \('If'\): attribute 'then_branch' holds g,",
    ),
    "external data in a loop in a branch": (
        added_node("Loop", attribute("body", g=graph_with(external(tensor()), depth=2))),
        r"node 'added' \('Loop'\): attribute 'body' holds g,",
    ),
    "deeply nested graphs": (
        added_node("If", attribute("then_branch", g=graph_with(tensor(), depth=30))),
        "attribute 'then_branch' holds g,",
    ),
    "a list of graphs": (added_node("Any", attribute("all", graphs=[graph_with(tensor())])), "'all' holds graphs,"),
    "a list of tensors": (added_node("Any", attribute("all", tensors=[external(tensor())])), "'all' holds tensors,"),
    "a list of sparse tensors": (
        added_node("Any", attribute("all", sparse_tensors=[sparse(tensor())])),
        "'all' holds sparse",
    ),
    "external data in a function": (_function(external(tensor())), "the model .* holds functions"),
    "a function": (_function(tensor()), "the model .* holds functions"),
    "external data for training": (
        model(
            lambda proto: proto.training_info.append(TrainingInfoProto(initialization=graph_with(external(tensor()))))
        ),
        "the model .* holds training_info",
    ),
    "a segment of a tensor": (
        model(lambda proto: proto.graph.initializer[0].segment.CopyFrom(TensorProto.Segment(begin=0, end=1))),
        "initializer .* holds segment",
    ),
}

OPERATORS: Cases = {
    "an operator of an unknown domain": (
        added_node("Run", domain="evil.ops"),
        r"node 'added' \('Run'\) is an operator of .*evil.ops",
    ),
    "an unknown domain": (_opset("evil.ops", 1), "imports the unknown version 1 of the operators of 'evil.ops'"),
    "an operator that names a file": (
        added_node("EPContext", attribute("ep_cache_context", s=b"/etc/passwd"), domain="com.microsoft"),
        r"node 'added' \('EPContext'\) is an operator of the domain 'com.microsoft' that no export writes",
    ),
    "an operator that runs Python": (added_node("PythonOp", domain="com.microsoft"), r"\('PythonOp'\) is an operator"),
    "an operator of torch": (added_node("ATen", domain="org.pytorch.aten"), r"\('ATen'\) is an operator of .*aten"),
    "an operator of training": (added_node("Adam", domain="ai.onnx.preview.training"), r"\('Adam'\) is an operator"),
    "an operator with an overload": (
        model(lambda proto: proto.graph.node.append(NodeProto(op_type="Relu", name="n", overload="x"))),
        "a node 'n' holds overload",
    ),
    "operators from the future": (_opset("", 99), "imports the unknown version 99 of the operators of 'ai.onnx'"),
    "operators from the past": (_opset("ai.onnx", 5), "imports the unknown version 5"),
    "a negative version": (_opset("", -1), "imports the unknown version"),
    "fused operators from the future": (_opset("com.microsoft", 2), "imports the unknown version 2"),
    "no operators": (
        model(lambda proto: proto.ClearField("opset_import")),
        "imports no version of ONNX's own operators",
    ),
    "a format from the future": (model(lambda proto: setattr(proto, "ir_version", 99)), "has IR version 99"),
    "an argument of a function": (added_node("Relu", attribute("x", ref_attr_name="y")), "'x' holds ref_attr_name"),
    "an attribute that is a type": (added_node("Optional", attribute("type", tp=TypeProto())), "'type' holds tp,"),
    "a device configuration": (
        model(lambda proto: proto.graph.node[0].device_configurations.add(configuration_id="x")),
        "holds device_configurations",
    ),
    "a quantisation annotation": (
        model(lambda proto: proto.graph.quantization_annotation.append(TensorAnnotation(tensor_name="x"))),
        "holds quantization_annotation",
    ),
}

SIZES: Cases = {
    "a huge tensor": (shaped(1 << 40), r"initializer 'claimed' has .* \[1099511627776\]"),
    "a tensor larger than its bytes": (shaped(1 << 30), "'claimed' claims the shape .1073741824., which is not what"),
    "a tensor smaller than its bytes": (shaped(0), "'claimed' claims the shape"),
    "a negative dimension": (shaped(-1), r"'claimed' has .* \[-1\]"),
    "negative dimensions that cancel": (shaped(-1, -1), r"'claimed' has .* \[-1, -1\]"),
    "dimensions that overflow": (shaped(*[(1 << 31) - 1] * 4), "'claimed' claims the shape"),
    "an empty tensor of endless width": (shaped(0, 1 << 62), "'claimed' has"),
    "too many dimensions": (shaped(*[1] * 1000), "'claimed' has"),
    "fewer numbers than the shape needs": (
        model(
            lambda proto: proto.graph.initializer.append(TensorProto(name="few", dims=[9], data_type=1, float_data=[1]))
        ),
        "'few' claims the shape",
    ),
    "a huge constant": (
        added_node("Constant", attribute("value", t=TensorProto(name="big", dims=[1 << 30], data_type=FLOAT))),
        r"node 'added' \('Constant'\): tensor 'big' claims the shape",
    ),
    "texts in a tensor": (shaped(1, data_type=STRING), "'claimed' has data type 8"),
    "an unknown data type": (shaped(1, data_type=99), "'claimed' has data type 99"),
    "no data type": (shaped(1, data_type=0), "'claimed' has data type 0"),
}

PORTS: Cases = {
    "an extra input": (_input("path", STRING), "has the inputs .*path"),
    "a missing input": (model(lambda proto: proto.graph.input.pop(0)), "has the inputs"),
    "an input of another type": (
        model(lambda proto: setattr(proto.graph.input[0].type.tensor_type, "elem_type", FLOAT)),
        "has the inputs .* in int64",
    ),
    "an input that is a sequence": (
        model(lambda proto: proto.graph.input[0].type.sequence_type.elem_type.tensor_type.SetInParent()),
        "holds an unknown field",
    ),
    "an extra output": (
        model(lambda proto: proto.graph.output.append(helper.make_tensor_value_info("more", FLOAT, [1, 3]))),
        "has the outputs .*more",
    ),
    "no output": (model(lambda proto: proto.graph.ClearField("output")), "has the outputs none"),
    "another output": (model(lambda proto: setattr(proto.graph.output[0], "name", "loss")), "has the outputs loss"),
    "more logits than labels": (
        model(lambda proto: setattr(proto.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 4)),
        "has the outputs logits .*width 4. instead of logits of width 3",
    ),
    "logits of unknown width": (
        model(lambda proto: setattr(proto.graph.output[0].type.tensor_type.shape.dim[1], "dim_param", "n")),
        "width 0",
    ),
}

BYTES: Cases = {
    "an empty file": (model_bytes(lambda data: b""), "has IR version 0"),
    "a file that is cut off": (model_bytes(lambda data: data[: len(data) // 2]), "cut off or not a protocol buffer"),
    "a pickle for a model": (model_bytes(lambda data: b"\x80\x04\x95."), "holds an unknown field"),
    "a second graph": (
        model_bytes(lambda data: data + ModelProto(graph=graph_with(external(tensor()))).SerializeToString()),
        "holds graph twice",
    ),
    "a graph in another form": (model_bytes(lambda data: data + b"\x38\x01"), "holds graph twice or in another form"),
    "an unknown field": (model_bytes(lambda data: data + b"\x9a\x06\x00"), "holds an unknown field"),
    "a field without a number": (model_bytes(lambda data: data + b"\x02\x00"), "holds an unknown field"),
    "a group": (model_bytes(lambda data: data + b"\x7b\x7c"), "cut off or not a protocol buffer"),
    "a length beyond the end": (model_bytes(lambda data: data + b"\x3a\xff\xff\xff\xff\x07"), "cut off"),
    "a length of too many bytes": (model_bytes(lambda data: data + b"\x3a" + b"\xff" * 12), "cut off"),
    "a negative length": (model_bytes(lambda data: data + b"\x3a" + varint((1 << 64) - 4)), "cut off"),
    "a name twice": (in_graph(message(1, message(3, b"one") + message(3, b"two"))), "a node holds name twice"),
    "a shape in another form": (
        in_graph(message(5, tensor().SerializeToString() + message(1, b"\x02\x02"))),
        "initializer holds dims twice or in another form",
    ),
    "more than half a million fields": (model_bytes(_many_nodes), "has more fields than any encoder"),
}
