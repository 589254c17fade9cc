"""Every change of what transformers does, with the version that it was written for.

Each puts a function of ours in the place of one of transformers, or takes its arguments by position. Both say nothing
when transformers changes what stands around it: the numbers would be wrong. So each asserts the version first. To go
to another version, read what is said here of each patch in the new source, run tests/train/test_model.py and
tests/export/test_first_token.py, and change `TRANSFORMERS`.
"""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from transformers import PreTrainedModel

from sentiment_ray.errors import ConfigError

TRANSFORMERS = "4.57"
BUILT_LIKE_BERT = ("bert", "roberta", "xlm-roberta", "electra")
"""Families whose layers are BERT's and whose head reads the first token alone."""


def assert_transformers_version() -> None:
    """ConfigError unless the transformers that is installed is the one that the patches were written for."""
    installed = importlib.metadata.version("transformers")
    if installed.split(".")[:2] != TRANSFORMERS.split("."):
        raise ConfigError(
            f"transformers {installed} is installed; parts of it are replaced here that are known in {TRANSFORMERS} "
            f"alone. Run: pip install 'transformers=={TRANSFORMERS}.*'"
        )


def compute_first_token_only(model: PreTrainedModel) -> None:
    """Let the last layer of a model that is built like BERT compute the first token alone, which its head reads.

    The logits are the same; of the layer's work only keys and values remain for all tokens. Replaced is `forward` of
    the last layer. What must hold of transformers: the encoder calls a layer with the hidden states and the mask
    first, and reads the first item of its result; `attention` takes keys and values from `encoder_hidden_states`.
    """
    if model.config.model_type not in BUILT_LIKE_BERT:
        return
    assert_transformers_version()
    encoder: Any = model.base_model.encoder
    last = encoder.layer[-1]
    last.forward = MethodType(_compute_first_token, last)


def _compute_first_token(
    layer: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
) -> tuple[torch.Tensor]:
    """Return what a layer makes of the first of all tokens: float `(rows, 1, width)`."""
    mask = None if attention_mask is None else attention_mask[:, :, :1]
    attended, *_ = layer.attention(hidden_states[:, :1], mask, encoder_hidden_states=hidden_states)
    return (layer.feed_forward_chunk(attended),)


def keep_bf16(model: PreTrainedModel) -> None:
    """Let the layers of a model that is built like BERT pass bf16 on to each other in CPU autocast.

    Otherwise the embeddings' fp32 goes through all sums and norms, and every product casts its input. The encoder's
    arguments are cast before it is called. What must hold of transformers: they are the hidden states and the mask.
    """
    if model.config.model_type not in BUILT_LIKE_BERT:
        return
    assert_transformers_version()
    encoder: Any = model.base_model.encoder
    encoder.register_forward_pre_hook(_cast_to_bf16, with_kwargs=True)


def _cast_to_bf16(
    _: torch.nn.Module, values: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments of an encoder, its fp32 tensors cast to bf16; None outside of autocast."""
    if not torch.is_autocast_enabled("cpu"):
        return None

    def cast(value: Any) -> Any:
        return value.bfloat16() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value

    return tuple(cast(value) for value in values), {name: cast(value) for name, value in named.items()}


@contextmanager
def without_scripted_positions() -> Iterator[None]:
    """While a graph is exported, replace DeBERTa's scripted choice of relative positions by the branch it always takes.

    An encoder has as many queries as keys. transformers compiles the choice with TorchScript, so the ONNX file would
    hold both branches as subgraphs, which a bundle must not have. Replaced is `build_rpos` of its module for DeBERTa.
    What must hold of transformers: with as many queries as keys, the function returns its third argument.
    """
    assert_transformers_version()
    from transformers.models.deberta_v2 import modeling_deberta_v2

    scripted = modeling_deberta_v2.build_rpos
    modeling_deberta_v2.build_rpos = lambda _queries, _keys, relative_positions, *_sizes: relative_positions
    try:
        yield
    finally:
        modeling_deberta_v2.build_rpos = scripted


def record_inputs_of_last_layer(model: torch.nn.Module, num_labels: int) -> list[torch.Tensor]:
    """Return a list that holds what the last layer of the head read in the last step: float `(rows, width)`.

    It is empty after a step without gradients. What must hold of transformers: of the linear layers with one output
    for each label, the last one of the head runs last.
    """
    assert_transformers_version()
    read: list[torch.Tensor] = []

    def keep_input(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        read[:] = inputs if torch.is_grad_enabled() else ()

    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer.out_features == num_labels:
            layer.register_forward_pre_hook(keep_input)
    return read
