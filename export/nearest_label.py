"""Exports an encoder that is not fine-tuned as a bundle that answers with the nearest label.

A text gets the label whose description has the nearest embedding, by cosine. The logits are the cosines times SCALE.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoConfig, PreTrainedModel

from export.config import ExportConfig
from export.exported_model import CardContent, Reading
from export.graph import convert
from export.held_out import HeldOut, limit_torch_threads
from export.model_card import make_encoder_card
from export.model_files import write_encoder_files
from export.variants import Source
from sentiment_ray.bundle.model_config import FAMILIES, find_longest_input
from sentiment_ray.errors import ConfigError
from sentiment_ray.inference.behaviour import load_cases
from sentiment_ray.inference.invariance import join_long_texts
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.labels import NEAREST_LABEL, check_labels, describe_labels, id2label, label2id
from sentiment_ray.manifest import hash_file
from sentiment_ray.pretrained.base_encoder import pool_states
from sentiment_ray.pretrained.load import load_headless
from sentiment_ray.pretrained.open import open_model
from sentiment_ray.pretrained.runs import name_base_model
from sentiment_ray.text.batching import pad
from sentiment_ray.text.encoding import TextEncoder, encode
from sentiment_ray.text.truncation import HEAD

SCALE = 20.0
"""What cosines are multiplied by to be logits.

Sentence encoders are trained with a softmax over 20 times the cosine, the default of Sentence Transformers
(MultipleNegativesRankingLoss). So with 20 a probability has the sharpness that such an encoder was trained for.
"""
MAX_TOKENS = 256
STATES = "last_hidden_state"
NO_LABELS = (
    "accuracy and macro-F1, because the encoder is not fine-tuned: there are no reviews with labels, so the files were "
    "compared with torch on the sentences of the suite",
)
NOT_JUDGED = ("max_macro_f1_drop", "max_suite_drop")


@dataclass(frozen=True)
class NearestLabelModel:
    """An encoder with the descriptions of some labels; see `ExportedModel`."""

    encoder: str
    labels: tuple[str, ...]
    reading: Reading
    made_from: dict[str, str]
    has_reviews: bool = False

    def copy_files(self, directory: Path) -> None:
        """Write config.json with the labels, and the tokenizer's files."""
        with open_model(self.encoder, key="encoder") as opened:
            config = AutoConfig.from_pretrained(
                opened.directory, id2label=id2label(self.labels), label2id=label2id(self.labels), local_files_only=True
            )
        config.architectures = [f"{FAMILIES[config.model_type][0]}ForSequenceClassification"]
        write_encoder_files(self.encoder, config, directory, labels=self.labels, max_tokens=self.reading.max_tokens)

    def score_held_out(self, encoder: TextEncoder) -> HeldOut:
        """Return the sentences of the suite and longer texts joined of them; torch's answers stand for the labels."""
        limit_torch_threads()
        engine = TorchNearestLabel(load_headless(self.encoder), encoder, self.labels)
        cases = load_cases()
        texts = [case.text for case in cases]
        texts += join_long_texts(encoder, texts)
        scores = score_texts(engine, encoder, texts)
        reason = "the encoder is not fine-tuned"
        return HeldOut(
            texts=texts,
            label_ids=scores.label_ids,
            scores=scores,
            cases=cases,
            case_scores=score_texts(engine, encoder, [case.text for case in cases]),
            temperature=1.0,
            calibration={"temperature": 1.0, "rows": 0, "reason": reason},
            split="suite",
            not_measured=NO_LABELS,
            not_judged=NOT_JUDGED,
        )

    def write_graph(self, source: Source, held_out: HeldOut) -> None:
        """Write the encoder's graph with the mean of the states, its norm and the product with the labels' vectors."""
        network = load_headless(self.encoder)
        network.save_pretrained(source.checkpoint, safe_serialization=True)
        vectors = TorchNearestLabel(network, source.encoder, self.labels).label_vectors.numpy()
        onnx.save(add_nearest_label(convert(source.checkpoint, "feature-extraction"), vectors), source.model)

    def describe_training(self, held_out: HeldOut) -> dict[str, Any]:
        """Return how the encoder answers, and its name without a path."""
        return {"method": NEAREST_LABEL, "scale": SCALE, **name_base_model({"model": self.encoder})}

    def make_card(self, content: CardContent) -> str:
        """Return the model card."""
        return make_encoder_card(self.labels, content)


class TorchNearestLabel:
    """An encoder in torch and fp32 that answers with the nearest label, with the interface of an engine."""

    name = "torch"

    def __init__(self, network: PreTrainedModel, encoder: TextEncoder, labels: Sequence[str]) -> None:
        self._network = network
        described = encode(encoder, describe_labels(labels))
        self.label_vectors = self._embed(*pad(described.ids, pad_id=encoder.pad_id))
        """float32 `(labels, width)`"""

    def logits(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32 logits `(batch, labels)`; see `sentiment_ray.inference.engines.Engine`."""
        return (SCALE * self._embed(input_ids, attention_mask) @ self.label_vectors.T).numpy()

    @torch.no_grad()
    def _embed(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> torch.Tensor:
        ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
        return pool_states(self._network(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


def find_encoder(config: ExportConfig) -> NearestLabelModel:
    """Return the encoder that a configuration names. ConfigError when it cannot be exported."""
    labels = check_labels(config.labels)
    with open_model(config.encoder or "", key="encoder") as opened:
        if opened.config.get("model_type") not in FAMILIES:
            raise ConfigError(
                f"{opened.name} is of type {opened.config.get('model_type')!r}, which cannot be exported as a bundle. "
                f"Choose one of: {', '.join(FAMILIES)}."
            )
        longest = find_longest_input(opened.config) or MAX_TOKENS
        hashes = {file.name: hash_file(file) for file in sorted(opened.weights)}
    source = config.encoder or ""
    encoder = str(Path(source).resolve()) if Path(source).is_dir() else source
    return NearestLabelModel(encoder, labels, Reading(min(MAX_TOKENS, longest), HEAD, ()), hashes)


def add_nearest_label(model: onnx.ModelProto, label_vectors: NDArray[np.float32]) -> onnx.ModelProto:
    """Return an encoder's graph whose output is `logits` `(batch, labels)` instead of its last hidden states.

    `label_vectors` is float32 `(labels, width)`, each of length 1.
    """
    graph = model.graph
    constants = {
        "nearest_last_axis": np.array([2], dtype=np.int64),
        "nearest_token_axis": np.array([1], dtype=np.int64),
        "nearest_labels": np.ascontiguousarray(SCALE * label_vectors.T, dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    graph.node.extend(
        (
            helper.make_node("Cast", ["attention_mask"], ["nearest_mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["nearest_mask", "nearest_last_axis"], ["nearest_weights"]),
            helper.make_node("Mul", [STATES, "nearest_weights"], ["nearest_states"]),
            helper.make_node("ReduceSum", ["nearest_states", "nearest_token_axis"], ["nearest_sum"], keepdims=0),
            helper.make_node("ReduceSum", ["nearest_weights", "nearest_token_axis"], ["nearest_count"], keepdims=0),
            helper.make_node("Div", ["nearest_sum", "nearest_count"], ["nearest_mean"]),
            helper.make_node("ReduceL2", ["nearest_mean", "nearest_token_axis"], ["nearest_length"], keepdims=1),
            helper.make_node("Div", ["nearest_mean", "nearest_length"], ["nearest_unit"]),
            helper.make_node("MatMul", ["nearest_unit", "nearest_labels"], ["logits"]),
        )
    )
    del graph.output[:]
    shape = ["batch_size", len(label_vectors)]
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape))
    return model
