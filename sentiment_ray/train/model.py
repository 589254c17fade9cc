"""An encoder with a classification head: loading, what of it is trained, its logits; knows no data and no Ray."""

import copy
import re
from collections.abc import Sequence

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from sentiment_ray.errors import ConfigError, MissingExtraError
from sentiment_ray.labels import id2label, label2id
from sentiment_ray.pretrained.head import find_head_rows
from sentiment_ray.pretrained.load import FROM_DISK, check_size, naming_model
from sentiment_ray.pretrained.open import open_model
from sentiment_ray.pretrained.patches import compute_first_token_only, keep_bf16
from sentiment_ray.text.truncation import TokenWindows, Truncation
from sentiment_ray.train.batches import Batch
from sentiment_ray.train.dropout import use_fast_dropout

LAYER = re.compile(r"\.layers?\.(\d+)\.")
"""Finds the number of a layer in the name of a parameter. ALBERT has no such numbers: its layers share parameters."""


def load_model(
    model: str, labels: Sequence[str], *, dropout: float | None, device: torch.device, revision: str | None = None
) -> PreTrainedModel:
    """Load an encoder with a head for `labels` onto `device`.

    The head is that of the model if it has one for the same labels, by the names in config.json; its rows are put in
    the order of `labels`. Otherwise it is a new one with random weights.

    `revision` is a commit of a model on the Hub. The model's files are checked before transformers sees any of them.
    ConfigError when they could do harm. ConfigError when weights of the encoder are missing or of another size, because
    transformers would replace these by random numbers.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with open_model(model, revision) as opened, naming_model(opened):
        config = AutoConfig.from_pretrained(
            opened.directory,
            num_labels=len(labels),
            id2label=id2label(labels),
            label2id=label2id(labels),
            local_files_only=True,
        )
        _set_dropout(config, dropout)
        check_size(opened, config)
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            opened.directory,
            output_loading_info=True,
            config=config,
            ignore_mismatched_sizes=True,  # a model that was fine-tuned before has a head for other labels
            # On CPUs the backward pass of fused attention is slower than that of eager attention. With None,
            # transformers takes the fastest that the family has.
            attn_implementation=None if device.type == "cuda" else "eager",
            **FROM_DISK,
        )
    _check_weights(loaded, info, model)
    _use_earlier_head(loaded, info, find_head_rows(opened.config, labels))
    loaded = loaded.to(device)
    compute_first_token_only(loaded)
    if device.type == "cpu":
        use_fast_dropout(loaded)
        keep_bf16(loaded)
    return loaded


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    """Set every dropout of a configuration; None leaves each as it is."""
    for key, value in config.to_dict().items() if dropout is not None else ():
        if "dropout" in key and (value is None or isinstance(value, float | int)):
            setattr(config, key, dropout)


def _check_weights(loaded: PreTrainedModel, info: dict[str, list], model: str) -> None:
    """Refuse an encoder of which weights are missing or have another size than config.json says."""
    encoder = f"{loaded.base_model_prefix}."
    names = (key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])
    wrong = [name for name in names if name.startswith(encoder)]
    if wrong:
        raise ConfigError(
            f"model = {model!r}: its {wrong[0]} has another size than its config.json says. Correct config.json."
        )
    missing = [name for name in info["missing_keys"] if name.startswith(encoder) and ".pooler." not in name]
    if missing:
        raise ConfigError(
            f"model = {model!r}: of its encoder's weights {len(missing)} are missing, as {sorted(missing)[0]}: "
            "config.json has another architecture or more layers, or they were saved under other names."
        )


def _use_earlier_head(loaded: PreTrainedModel, info: dict[str, list], rows: list[int] | None) -> None:
    """Put the rows of a head that was loaded with the model in order; None makes new ones instead."""
    names = (key if isinstance(key, str) else key[0] for key in (*info["missing_keys"], *info["mismatched_keys"]))
    new, encoder = set(names), f"{loaded.base_model_prefix}."
    for name, layer in loaded.named_modules():
        is_last = isinstance(layer, torch.nn.Linear) and layer.out_features == loaded.config.num_labels
        if not is_last or name.startswith(encoder) or f"{name}.weight" in new:
            continue
        if rows is None:
            loaded._init_weights(layer)
            continue
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(parameter[rows].clone())


def compute_logits(model: torch.nn.Module, batch: Batch, truncation: Truncation, *, bf16: bool) -> torch.Tensor:
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


def find_depth(name: str, num_layers: int) -> int:
    """Return the depth of a parameter: 0 in the embeddings, 1 in the first layer, `num_layers + 1` in the head.

    Parameters that all layers share, such as MPNet's relative positions, have depth 0.
    """
    layer = LAYER.search(name)
    if layer:
        return int(layer[1]) + 1
    return 0 if "embeddings" in name or ".encoder." in name else num_layers + 1


def choose_trained(model: PreTrainedModel, *, frozen_layers: int, lora_rank: int | None) -> torch.nn.Module:
    """Return the model to train: all of it, all but the lowest layers, or low-rank additions and the head.

    ConfigError when the model has fewer layers than `frozen_layers`.
    """
    if lora_rank:
        return _add_low_rank(model, lora_rank)
    num_layers = count_layers(model)
    if frozen_layers > num_layers:
        raise ConfigError(f"frozen_layers = {frozen_layers}, but the encoder has {num_layers} layers of its own.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not frozen_layers or find_depth(name, num_layers) > frozen_layers
    return model


def count_layers(model: torch.nn.Module) -> int:
    """Return the number of layers with weights of their own; 0 for ALBERT, whose layers share theirs."""
    matches = (LAYER.search(name) for name, _ in model.named_parameters())
    return max((int(layer[1]) + 1 for layer in matches if layer), default=0)


def merge_additions(model: torch.nn.Module) -> PreTrainedModel:
    """Return a model that transformers can save. Low-rank additions are added to the weights of a copy."""
    if isinstance(model, PreTrainedModel):
        return model
    return copy.deepcopy(model).merge_and_unload()  # type: ignore[operator]


def _add_low_rank(model: PreTrainedModel, rank: int) -> torch.nn.Module:
    """Add LoRA (https://arxiv.org/abs/2106.09685) to every linear layer of the encoder. The head is trained in full."""
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
