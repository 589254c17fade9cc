"""Rows that are not used are not computed, and the logits stay the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, helper
from optimum.exporters.onnx import main_export
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from export.first_token import keep_first_token
from export.graph import quiet
from sentiment_ray.pretrained.patches import without_scripted_positions

SIZES = {"vocab_size": 100, "max_position_embeddings": 64, "num_labels": 3}
USUAL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
AS_PUBLISHED = {
    "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 8, "max_relative_positions": -1,
    "position_biased_input": False, "share_att_key": True, "norm_rel_ebd": "layer_norm",
}  # fmt: skip
"""The keys for positions in the config.json of DeBERTa-v3, with fewer buckets."""
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": USUAL,
    "roberta": USUAL,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "albert": USUAL | {"embedding_size": 16},
    "electra": USUAL | {"embedding_size": 16},
    "mpnet": USUAL,
    "deberta-v2": USUAL | {"type_vocab_size": 0} | AS_PUBLISHED,
    "modernbert": USUAL | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1},
}


def _exported(family: str, directory: Path) -> ModelProto:
    """Return the ONNX file that Optimum exports from a small model with random weights."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(directory)
    with quiet(), without_scripted_positions():
        main_export(
            str(directory), output=directory / "onnx", task="text-classification", opset=18, do_validation=False
        )
    return onnx.load(directory / "onnx/model.onnx")


def _logits(model: ModelProto, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    every = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return np.asarray(session.run(["logits"], {port.name: every[port.name] for port in session.get_inputs()})[0])


def _products_of_one_row(model: ModelProto) -> int:
    """Return how many matrix products of `(batch, tokens, width)` are computed for only one of several tokens."""
    probed = ModelProto.FromString(model.SerializeToString())
    products = [node.output[0] for node in model.graph.node if node.op_type == "MatMul"]
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in products)
    session = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {port.name: np.ones((3, 7), dtype=np.int64) for port in session.get_inputs()}
    if "token_type_ids" in feed:
        feed["token_type_ids"][:] = 0
    return sum(values.ndim == 3 and values.shape[1] == 1 for values in session.run(products, feed))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_computes_only_the_first_token_with_the_same_logits(family: str, tmp_path: Path) -> None:
    plain = _exported(family, tmp_path)
    model = keep_first_token(plain)
    onnx.checker.check_model(model)
    generator = np.random.default_rng(0)
    for batch, length in ((1, 2), (3, 7), (4, 20)):
        ids, mask = generator.integers(3, 99, (batch, length)), np.ones((batch, length), dtype=np.int64)
        mask[0, length // 2 + 1 :] = 0
        np.testing.assert_allclose(_logits(model, ids, mask), _logits(plain, ids, mask), atol=1e-6)
    assert _products_of_one_row(plain) == 0
    feed_forward = 1 if family == "modernbert" else 2  # the cut stops at a split along the width in its first half
    assert _products_of_one_row(model) >= feed_forward


def test_a_graph_that_uses_all_rows_stays_the_same() -> None:
    rows = helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["batch", "tokens", 4])
    result = helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, ["batch", 4])
    index = helper.make_tensor("index", onnx.TensorProto.INT64, [], [0])
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Tanh", ["rows"], ["bent"]),
        helper.make_node("Gather", ["bent", "index"], ["first"], axis=1),
        helper.make_node("ReduceMean", ["bent", "axes"], ["mean"], keepdims=0),
        helper.make_node("Add", ["first", "mean"], ["result"]),
    ]
    graph = helper.make_graph(nodes, "both", [rows], [result], [index, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert [node.op_type for node in keep_first_token(model).graph.node] == ["Tanh", "Gather", "ReduceMean", "Add"]
