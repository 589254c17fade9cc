"""An encoder with a classification head: loading, precision, saving; knows nothing of data or Ray."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from sentiment_ray.bundle.model_config import known_keys, refuse_kernels
from sentiment_ray.errors import ConfigError, MissingExtraError
from sentiment_ray.labels import id2label, label2id
from sentiment_ray.text.truncation import TokenWindows, Truncation
from sentiment_ray.train.batches import Batch
from sentiment_ray.train.dropout import use_fast_dropout

LAYER = re.compile(r"\.layers?\.(\d+)\.")
"""Where the name of a parameter has the number of its layer, in all families but ALBERT, whose layers share theirs."""
BUILT_LIKE_BERT = ("bert", "roberta", "xlm-roberta", "electra")
"""Families whose layers are BERT's and whose head reads the first token alone."""


def load_tokenizer_files(model: str, directory: Path) -> None:
    """Write the tokenizer of a local or Hub encoder into `directory`, tokenizer.json among its files."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(_checked(model), use_fast=True, trust_remote_code=False)
    except OSError as error:
        why = str(error).strip().partition("\n")[0]
        raise ConfigError(f"model = {model!r} is not what a directory here or the Hub can give: {why}") from None
    except (AttributeError, TypeError, ValueError, KeyError, ImportError):  # what transformers meets without its files
        tokenizer = None
    if tokenizer:
        tokenizer.save_pretrained(directory)
    if not (directory / "tokenizer.json").is_file():
        raise ConfigError(
            f"model = {model!r} has no tokenizer that is fast or can be made so here, which the bundle needs. Save it "
            "with AutoTokenizer where SentencePiece is installed, so that there is a tokenizer.json, or choose another."
        )


def load_model(model: str, labels: Sequence[str], *, dropout: float | None, device: torch.device) -> PreTrainedModel:
    """Load an encoder with a fresh head for `labels`, on `device`.

    Weights are read from safetensors only, and no code from the model's directory is run. ConfigError when some of the
    encoder's are missing or of another size, which transformers would make up at random.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(
        _checked(model),
        num_labels=len(labels),
        id2label=id2label(labels),
        label2id=label2id(labels),
        trust_remote_code=False,
    )
    forget_earlier_task(config)
    if dropout is not None:
        for key, value in config.to_dict().items():
            if "dropout" in key and (value is None or isinstance(value, float | int)):
                setattr(config, key, dropout)
    loaded, told = AutoModelForSequenceClassification.from_pretrained(
        model,
        output_loading_info=True,
        config=config,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # a head for other labels, which a model that was fine-tuned before brings
        # On CPUs the backward pass of fused attention is slower than the plain one; None is the best that it has.
        attn_implementation=None if device.type == "cuda" else "eager",
    )
    names = (key if isinstance(key, str) else key[0] for key in told["mismatched_keys"])
    wrong = [name for name in names if name.startswith(f"{loaded.base_model_prefix}.")]
    if wrong:
        raise ConfigError(f"model = {model!r}: its {wrong[0]} has another size than its config.json says. Mend it.")
    missing = [
        name
        for name in told["missing_keys"]
        if name.startswith(f"{loaded.base_model_prefix}.") and ".pooler." not in name
    ]
    if missing:
        raise ConfigError(
            f"model = {model!r}: of its encoder's weights {len(missing)} are missing, as {sorted(missing)[0]}: "
            "config.json has another architecture or more layers, or they were saved under other names."
        )
    loaded = loaded.to(device)
    keep_first_token(loaded)
    if device.type == "cpu":
        use_fast_dropout(loaded)
        keep_bf16(loaded)
    return loaded


def forget_earlier_task(config: PretrainedConfig) -> None:
    """Reset what a model's config.json keeps of how it was used before, which no bundle may hold."""
    config.problem_type = None
    usual, known = type(config)(), known_keys(config.model_type)
    for key in config.to_diff_dict().keys() - known if known else ():
        if hasattr(usual, key):
            setattr(config, key, getattr(usual, key))
        else:
            delattr(config, key)


def keep_first_token(model: PreTrainedModel) -> None:
    """Let the last layer of a model that is built like BERT compute the first token alone, which its head reads.

    The logits are the same; of the layer's work only keys and values remain for all tokens.
    """
    if model.config.model_type in BUILT_LIKE_BERT:
        encoder: Any = model.base_model.encoder
        last = encoder.layer[-1]
        last.forward = MethodType(_first_token_of, last)


def _first_token_of(
    layer: Any, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
) -> tuple[torch.Tensor]:
    """Return what a layer makes of the first of all tokens: float `(rows, 1, width)`."""
    mask = None if attention_mask is None else attention_mask[:, :, :1]
    attended, *_ = layer.attention(hidden_states[:, :1], mask, encoder_hidden_states=hidden_states)
    return (layer.feed_forward_chunk(attended),)


def keep_bf16(model: PreTrainedModel) -> None:
    """Let the layers of a model that is built like BERT pass bf16 on to each other in CPU autocast.

    Else the embeddings' fp32 goes through all sums and norms, and every product casts what it is given.
    """
    if model.config.model_type in BUILT_LIKE_BERT:
        encoder: Any = model.base_model.encoder
        encoder.register_forward_pre_hook(_with_bf16, with_kwargs=True)


def _with_bf16(
    _: torch.nn.Module, values: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return what an encoder is called with, states and mask cast to bf16."""
    if not torch.is_autocast_enabled("cpu"):
        return None

    def cast(value: Any) -> Any:
        return value.bfloat16() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value

    return tuple(cast(value) for value in values), {name: cast(value) for name, value in named.items()}


def logits_of(model: torch.nn.Module, batch: Batch, truncation: Truncation, *, bf16: bool) -> torch.Tensor:
    """Return float32 logits `(texts, labels)` of a batch; those of a text's windows are pooled, as in scoring."""
    with torch.autocast(batch.input_ids.device.type, dtype=torch.bfloat16, enabled=bf16):
        answer = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    logits = answer.logits.float()
    num_texts = len(batch.label_ids)
    if not isinstance(truncation, TokenWindows) or len(logits) == num_texts:
        return logits
    pooled = torch.zeros(num_texts, logits.shape[1], device=logits.device)
    owners = batch.owners.unsqueeze(1).expand_as(logits)
    how = "amax" if truncation.pooling == "max" else "mean"
    return pooled.scatter_reduce(0, owners, logits, how, include_self=False)


def depth_of(name: str, num_layers: int) -> int:
    """Return how far from the input a parameter is: 0 for embeddings, 1 for the first layer, and last the head.

    What layers share counts with the embeddings, as MPNet's relative positions, which every layer reads.
    """
    numbered = LAYER.search(name)
    if numbered:
        return int(numbered[1]) + 1
    return 0 if "embeddings" in name or ".encoder." in name else num_layers + 1


def choose_trained(model: PreTrainedModel, *, frozen_layers: int, lora_rank: int | None) -> torch.nn.Module:
    """Return the model with the parameters that training may change: all, the upper layers, or low-rank additions.

    ConfigError when there are fewer layers than are to be frozen.
    """
    if lora_rank:
        return _with_low_rank_additions(model, lora_rank)
    num_layers = count_layers(model)
    if frozen_layers > num_layers:
        raise ConfigError(f"frozen_layers = {frozen_layers}, but the encoder has {num_layers} layers of its own.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not frozen_layers or depth_of(name, num_layers) > frozen_layers
    return model


def count_layers(model: torch.nn.Module) -> int:
    """Return the number of layers with weights of their own, which ALBERT's do not have."""
    found = (LAYER.search(name) for name, _ in model.named_parameters())
    return max((int(layer[1]) + 1 for layer in found if layer), default=0)


def merged(model: torch.nn.Module) -> PreTrainedModel:
    """Return a model as transformers knows it: low-rank additions, if there are any, added to the weights of a copy."""
    if isinstance(model, PreTrainedModel):
        return model
    return copy.deepcopy(model).merge_and_unload()  # type: ignore[operator]


def _with_low_rank_additions(model: PreTrainedModel, rank: int) -> torch.nn.Module:
    """Add LoRA (https://arxiv.org/abs/2106.09685) to every linear layer of the encoder; the head is trained whole."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("lora_rank needs peft. Run: pip install 'sentiment-ray[lora]'") from None
    parts = ((name, part) for name, part in model.named_children() if name != model.base_model_prefix)
    head = [name for name, part in parts if next(part.parameters(), None) is not None]
    settings = LoraConfig(
        task_type="SEQ_CLS",
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        modules_to_save=head,
        exclude_modules=rf"({'|'.join(head)})(\..*)?",
    )
    return get_peft_model(model, settings)


def _checked(model: str) -> str:
    """Refuse a path that is no model directory, before transformers asks the Hub for it, and what could run code."""
    refuse_kernels()
    path = Path(model)
    if path.is_absolute() and not (path / "config.json").is_file():
        raise ConfigError(f"model = {model!r} is no model directory: config.json is missing there.")
    return model
