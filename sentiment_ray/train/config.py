"""The keys of [train]; imports no torch and no Ray, so `--help` is fast."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from sentiment_ray.config.sections import Names, SectionConfig, Share, StageConfig, is_unset
from sentiment_ray.text.truncation import Mode, NumWindows, Overlap, Pooling

ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
WINDOW_KEYS = ("pooling", "window_overlap", "max_windows")
"""Keys that apply to truncation = "windows" only."""
TRACKERS = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "trackio": "trackio"}
"""The module that each tracker of `track` imports; the extra that installs it has the tracker's name."""
MOST_TOKENS, MOST_TOKENS_ON_GPU = 2048, 32_768
"""Largest number of tokens in a batch with tokens_per_batch = "auto". Larger ones are not faster on a CPU.

On a GPU the time of a step hardly depends on its tokens while these are few: an H200 trained a BERT-base encoder with
16 % of its matrix rate at 32,768 tokens, and MiniLM with 0.55 % at 8,192.
"""

LORA_LEARNING_RATE = 1e-3
"""Default of `learning_rate` with `lora_rank`. The additions start at 0, and at 5e-5 they hardly move."""


def _split_range(value: Any) -> Any:
    """Turn `2,4` of a flag into two numbers, and `2` into one."""
    parts = value.split(",") if isinstance(value, str) else value
    return parts[0] if isinstance(parts, list | tuple) and len(parts) == 1 else parts


class Distill(SectionConfig):
    """Keys of [train.distill]: learn from the scores of a larger model as well."""

    scores: str
    """Directory that score_reviews wrote with the larger model's bundle, which must have the labels of the reviews."""
    text_column: str = "text"
    """Column of the scores that holds the text."""
    prefix: str = "sentiment_"
    """Prefix of the probability columns, one for each label."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the distance to the larger model's answer; the loss of a label has weight 1."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Temperature at which the two answers are compared; a higher one softens both."""


class TrainConfig(StageConfig):
    """Keys of [train]."""

    renamed: ClassVar[Mapping[str, str]] = {"warmup_share": "warmup_ratio"}
    prepared: str
    """Directory that prepare_reviews wrote."""
    model: str = ""
    """Encoder to start from: a local directory, or a name on the Hugging Face Hub."""
    revision: str | None = None
    """Branch, tag or commit of a `model` on the Hub; by default main. All workers read the commit that it is now."""
    start_from: str | None = None
    """Directory of a finished run to continue, in place of `model`. The reviews may have some of its labels."""
    replay: Share = 0.0
    """Share of the training rows of `start_from` to train on again, from 0 to 1; the model then forgets less."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over the training split."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without a better `best_by`; by default all epochs are trained."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Highest learning rate, reached at the end of the warm-up. The default is 1e-3 with `lora_rank`, and 1e-4 with at
    most 100 rows and a new model."""
    warmup_ratio: ShareBelowOne = 0.1
    """Share of the training, from 0 to below 1, in which the learning rate rises; then it falls linearly to 0."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate for each layer away from the head, above 0 to 1; 1 is one rate for all layers."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW; biases and norms have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients with a larger norm are scaled down to this norm."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """none, balanced (every label counts the same, however rare), or in a file a table with a weight for each label."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of a row's label that is spread over all labels, from 0 to below 1."""
    focal_gamma: Annotated[float, Field(ge=0)] = 0.0
    """Gamma of the focal loss: rows that are already right count less. 0 is plain cross entropy, 2 is usual."""
    contrastive_weight: Annotated[float, Field(ge=0)] | None = Field(default=None, exclude_if=is_unset)
    """Weight of a second loss that draws texts of one label together and others apart. By default 0, or 1 when
    tokens_per_batch = "auto" and there are at most 100 rows."""
    distill: Distill | None = None
    """Learn from the scores of a larger model as well; a section of its own."""
    tokens_per_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Largest number of tokens in a worker's batch, padding included. auto is 2,048, with `use_gpu` 32,768, or fewer so
    that there are at least 200 steps. For few rows it also sets those of `rows_per_batch`, `passes_per_epoch` and
    `contrastive_weight` that are not given."""
    rows_per_batch: Annotated[int, Field(ge=1)] | None = Field(default=None, exclude_if=is_unset)
    """Largest number of rows in a worker's batch, drawn at random; by default only the tokens are limited."""
    passes_per_epoch: Annotated[int, Field(ge=1)] | None = Field(default=None, exclude_if=is_unset)
    """Passes over the training rows in an epoch, by default 1, or more with tokens_per_batch = "auto". With several
    the rows stay in memory."""
    accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients are added up for one optimizer step."""
    max_tokens: Annotated[int, Field(ge=3)] = 128
    """Largest number of tokens that the model reads at once; the bundle keeps this value."""
    truncation: Mode = "head"
    """Part of a longer text that is read: head, tail, head_tail (both ends) or windows; the bundle keeps this value."""
    pooling: Pooling = "mean"
    """How the logits of a text's windows are combined: mean or max. For truncation = windows."""
    window_overlap: Overlap = 0.25
    """Share of a window that repeats the end of the window before, from 0 to 0.9. For truncation = windows."""
    max_windows: NumWindows = 16
    """Largest number of windows read of a text, from 1 to 64; the rest is cut off. For truncation = windows."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout of all layers, from 0 to below 1; by default the value in the model's configuration."""
    frozen_layers: Annotated[int, Field(ge=0)] = 0
    """Number of lowest layers that are not trained; from 1 on the embeddings are not trained either."""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of LoRA: train low-rank additions and the head only. Checkpoints hold the merged weights."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto uses bf16 autocast if the device multiplies faster in bf16, which is measured at the start, else fp32."""
    best_by: Literal["macro_f1", "accuracy", "validation_loss"] = "macro_f1"
    """Metric on the validation split that chooses the best checkpoint."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 1
    """Number of best checkpoints to keep, of those at the end of an epoch."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between two checkpoints within an epoch."""
    num_workers: Annotated[
        Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
        BeforeValidator(_split_range),
    ] = 1
    """Data-parallel workers. Two numbers, such as 2,4, are a range: as many as the cluster has room for."""
    cpus_per_worker: Annotated[float, Field(gt=0)] | None = None
    """CPUs of a worker, fractions allowed; by default three quarters of the most that every worker can have."""
    use_gpu: bool = False
    """Give each worker one GPU."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Worker failures that a run survives; after each it resumes from the last checkpoint."""
    track: Names = ()
    """Trackers that get the metrics beside metrics.jsonl: tensorboard, mlflow, trackio."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initial weights, the order of rows and dropout."""

    @property
    def token_budget(self) -> int:
        """`tokens_per_batch` as a number; that of `auto` for very many rows."""
        return self.most_tokens if self.tokens_per_batch == "auto" else self.tokens_per_batch

    @property
    def most_tokens(self) -> int:
        """The largest number of tokens that `tokens_per_batch = "auto"` may choose."""
        return MOST_TOKENS_ON_GPU if self.use_gpu else MOST_TOKENS

    @property
    def max_workers(self) -> int:
        """The upper end of `num_workers`."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def min_workers(self) -> int:
        """The lower end of `num_workers`."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @model_validator(mode="after")
    def _choose_learning_rate(self) -> "TrainConfig":
        if self.lora_rank and "learning_rate" not in self.model_fields_set:
            object.__setattr__(self, "learning_rate", LORA_LEARNING_RATE)
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> "TrainConfig":
        if not self.model and not self.start_from:
            raise ValueError("the key 'model' is missing. Name an encoder, or a finished run with start_from.")
        if self.replay and not self.start_from:
            raise ValueError(f"replay = {self.replay:g} needs start_from, the run whose rows are trained on again.")
        unknown = [name for name in self.track if name not in TRACKERS]
        if unknown:
            raise ValueError(f"track = {unknown[0]!r} is unknown. Known: {', '.join(TRACKERS)}.")
        if self.min_workers > self.max_workers:
            raise ValueError(f"num_workers = {list(self.num_workers)}: write the smaller number first.")  # type: ignore[arg-type]
        if self.lora_rank and self.frozen_layers:
            raise ValueError("lora_rank trains no layer of the encoder, so frozen_layers has no effect. Remove one.")
        for key in WINDOW_KEYS if self.truncation != "windows" else ():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(f"{key} = {value!r} needs truncation = 'windows', but it is {self.truncation!r}.")
        return self


def with_earlier_defaults(config: TrainConfig) -> TrainConfig:
    """Return a configuration as the last release completed it, whose runs are still recognised by their fingerprint.

    Its batches had 2,048 tokens, and its learning rate did not depend on `lora_rank`.
    """
    earlier = {
        "tokens_per_batch": MOST_TOKENS if config.tokens_per_batch == "auto" else config.tokens_per_batch,
        "learning_rate": config.learning_rate,
    }
    if "learning_rate" not in config.model_fields_set:
        earlier["learning_rate"] = TrainConfig.model_fields["learning_rate"].default
    return config.model_copy(update=earlier)


def use_first_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of [train] with renamed keys under their first names.

    Fingerprints are made of these, so a run that was made before a key was renamed is still recognised.
    """
    first_names = {new: old for old, new in TrainConfig.renamed.items()}
    return {first_names.get(key, key): value for key, value in settings.items()}
