"""Whether weights are those of the encoder that config.json describes, by the names and shapes of their tensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.weights import Tensor

PREFIXES = {"xlm-roberta": "roberta", "camembert": "roberta", "deberta-v2": "deberta", "modernbert": "model"}
"""By family: what the names of the encoder's tensors begin with, where it is not the family's name."""
HEADS = (
    "cls.", "lm_head.", "predictions.", "vocab_", "decoder.", "generator_", "discriminator_", "lm_predictions.",
    "mask_predictions.",
)  # fmt: skip
"""How the names of tensors begin that pretraining leaves beside the encoder and that no classifier has."""
LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
SHAPES = (
    (r"embeddings\.(?:word|tok)_embeddings\.weight", ("vocab_size",), ("embedding_size", "hidden_size", "dim")),
    (
        r"embeddings\.position_embeddings\.weight",
        ("max_position_embeddings",),
        ("embedding_size", "hidden_size", "dim"),
    ),
    (r"embeddings\.token_type_embeddings\.weight", ("type_vocab_size",), ("embedding_size", "hidden_size")),
    (r".*\.attention\.self\.query\.weight", ("hidden_size",), ("hidden_size",)),
    (r".*\.(?:intermediate\.dense|ffn)\.weight", ("intermediate_size",), ("hidden_size",)),
    (r".*\.ffn\.lin1\.weight", ("hidden_dim",), ("dim",)),
)
"""Names of tensors without the family's prefix, and the keys of config.json, the first that is there, for rows and
columns."""


def check_fit(config: Mapping[str, Any], tensors: Mapping[str, Tensor], root: Path) -> None:
    """Raise ConfigError unless the weights have the embeddings, the layers and the shapes that config.json says.

    Known is what all families have in common; what is left is found when the model is loaded.
    """
    kind = str(config.get("model_type"))
    prefix = f"{PREFIXES.get(kind, kind)}."
    encoder = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    embeddings = "embeddings.tok_embeddings.weight" if kind == "modernbert" else "embeddings.word_embeddings.weight"
    if embeddings not in encoder:
        raise ConfigError(_explain_missing(embeddings, kind, tensors, root))
    for name, tensor in encoder.items():
        _check_shape(config, name, tensor, root)
    num_layers = config.get("num_hidden_layers", config.get("n_layers"))
    found = max((int(match[1]) + 1 for match in map(LAYER.search, encoder) if match), default=0)
    if type(num_layers) is int and found < num_layers and kind != "albert":  # ALBERT's layers share one set of weights
        raise ConfigError(
            f"{root}: config.json says {num_layers} layers, but the weights hold {found}. Take both from the same "
            "model."
        )


def count_encoder_values(tensors: Mapping[str, Tensor]) -> int:
    """Return how many numbers the tensors hold, without the heads of a pretraining."""
    return sum(tensor.num_values for name, tensor in tensors.items() if not name.startswith(HEADS))


def _check_shape(config: Mapping[str, Any], name: str, tensor: Tensor, root: Path) -> None:
    for pattern, *sides in SHAPES:
        if len(tensor.shape) != len(sides) or not re.fullmatch(pattern, name):
            continue
        for keys, size, side in zip(sides, tensor.shape, ("rows", "columns"), strict=True):
            key = next((key for key in keys if type(config.get(key)) is int), None)
            if key and config[key] != size:
                raise ConfigError(
                    f"{root}: config.json says {key} = {config[key]:,}, but {name} has {size:,} {side}. Take both from "
                    "the same model, or correct config.json."
                )


def _explain_missing(embeddings: str, kind: str, tensors: Mapping[str, Tensor], root: Path) -> str:
    wrapped = next((name for name in tensors if name.endswith(f".{embeddings}")), None)
    if wrapped:
        return (
            f"{root}: the weights are saved under other names than transformers reads, as {wrapped[:200]}. Save the "
            "model itself with save_pretrained, not what wraps it."
        )
    first = f", but {sorted(tensors)[0][:200]}" if tensors else ""
    return (
        f"{root}: config.json says that the model is of type {kind}, but the weights are of another: they hold no "
        f"{embeddings}{first}. Take both from the same model."
    )
