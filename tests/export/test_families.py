"""For every family of encoders, a bundle may hold what the export writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from export.graph import export_graph
from export.optimize import optimize
from export.quantize import quantize_dynamic, quantize_weights
from sentiment_ray.bundle.model_config import FAMILIES, check_model_files
from sentiment_ray.bundle.onnx_scan import scan_model
from sentiment_ray.errors import BundleError
from sentiment_ray.labels import id2label, label2id
from tests.conftest import LABELS
from tests.export.test_first_token import FAMILIES as TINY
from tests.export.test_first_token import SIZES

LIKE_ROBERTA = TINY["roberta"] | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
MORE = {"xlm-roberta": LIKE_ROBERTA, "camembert": LIKE_ROBERTA}


def _checkpoint(family: str, directory: Path) -> Path:
    """Write a small model of a family with random weights, and a tokenizer of two words."""
    sizes = SIZES | (TINY | MORE)[family]
    config = AutoConfig.for_model(family, **sizes, id2label=id2label(LABELS), label2id=label2id(LABELS))
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(directory)
    return directory


def test_every_family_is_tested() -> None:
    assert set(FAMILIES) == set(TINY | MORE)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_variant_of_every_family_passes_the_checks(family: str, tmp_path: Path) -> None:
    checkpoint = _checkpoint(family, tmp_path)
    contents = {path.name: path.read_bytes() for path in checkpoint.glob("*.json")}
    check_model_files(contents, checkpoint, labels=LABELS, max_tokens=32)
    plain = tmp_path / "plain.onnx"
    export_graph(checkpoint, plain)
    optimize(plain, checkpoint, tmp_path / "optimized.onnx")
    quantize_dynamic(plain, checkpoint, tmp_path / "int8.onnx")
    quantize_weights(plain, tmp_path / "int8_weights.onnx")
    for path in tmp_path.glob("*.onnx"):
        scan_model(path.read_bytes(), path.name, num_labels=len(LABELS))


@pytest.mark.parametrize("value", [["c2p", "os.system"], ["p2c", ["c2p"]], {"p2c": "c2p"}])
def test_a_list_of_other_words_than_transformers_writes_is_refused(value: Any, tmp_path: Path) -> None:
    checkpoint = _checkpoint("deberta-v2", tmp_path)
    contents = {path.name: path.read_bytes() for path in checkpoint.glob("*.json")}
    contents["config.json"] = json.dumps(json.loads(contents["config.json"]) | {"pos_att_type": value}).encode()
    with pytest.raises(BundleError, match="pos_att_type is"):
        check_model_files(contents, checkpoint, labels=LABELS, max_tokens=32)


def test_the_keys_of_published_checkpoints_are_known(tmp_path: Path) -> None:
    """By family: keys that transformers keeps because the base model has them."""
    published = {
        "bert": {"gradient_checkpointing": False, "pooler_fc_size": 768, "directionality": "bidi"},
        "albert": {"down_scale_factor": 1, "gap_size": 0, "net_structure_type": 0, "num_memory_blocks": 0},
        "deberta-v2": {"position_buckets": 256, "pos_att_type": "p2c|c2p", "conv_kernel_size": 3, "conv_act": "gelu"},
        "distilbert": {"tie_weights_": True},
    }
    for family, keys in published.items():
        checkpoint = _checkpoint(family, tmp_path / family)
        contents = {path.name: path.read_bytes() for path in checkpoint.glob("*.json")}
        contents["config.json"] = json.dumps(json.loads(contents["config.json"]) | keys).encode()
        check_model_files(contents, checkpoint, labels=LABELS, max_tokens=32)
