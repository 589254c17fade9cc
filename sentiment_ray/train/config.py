"""The keys of [train]; knows no torch and no Ray, so that --help is quick."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sentiment_ray.config.sections import Names, SectionConfig, Share, StageConfig
from sentiment_ray.text.truncation import Mode, NumWindows, Overlap, Pooling

ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
OF_WINDOWS = ("pooling", "window_overlap", "max_windows")
"""Keys that say something of windows alone."""
TRACKERS = ("tensorboard", "mlflow", "trackio")


def _range(value: Any) -> Any:
    """Turn `2,4` of a flag into its two numbers, and `2` into one."""
    parts = value.split(",") if isinstance(value, str) else value
    return parts[0] if isinstance(parts, list | tuple) and len(parts) == 1 else parts


class Distill(SectionConfig):
    """Keys of [train.distill]: learn from the answers of a larger model as well."""

    scores: str
    """Directory that score_reviews wrote with the larger model's bundle, its labels those of the reviews."""
    text_column: str = "text"
    """Column of the scores that holds the text."""
    prefix: str = "sentiment_"
    """Prefix of the columns with a probability for each label."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the distance to the larger model's answer, beside 1 for the loss of a label."""
    temperature: Annotated[float, Field(gt=0)] = 2.0
    """Temperature at which both answers are compared."""


class TrainConfig(StageConfig):
    """Keys of [train]."""

    prepared: str
    """Directory that prepare_reviews wrote."""
    model: str = ""
    """Encoder to start from: a local directory, or a name on the Hugging Face Hub."""
    start_from: str | None = None
    """Run of an earlier training to go on from instead, with its model and labels, on new reviews."""
    replay: Share = 0.0
    """Share of the earlier run's training rows that are trained on again, so that less is forgotten."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over the training split."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a better `best_by` after which the training ends before its last epoch."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Highest learning rate, reached after the warm-up."""
    warmup_share: ShareBelowOne = 0.1
    """Share of the training in which the learning rate rises; then it falls linearly to zero."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate for each layer farther from the head; 1 for one rate everywhere."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decay of weights; biases and norms have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = "none"
    """none, balanced (a rare label counts as much as a common one), or in a file a table of label and weight."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of a row's label that is spread over all labels."""
    focal_gamma: Annotated[float, Field(ge=0)] = 0.0
    """How strongly rows that are right already count less; 0 for plain cross entropy, 2 in the paper."""
    distill: Distill | None = None
    """Learn from the scores of a larger model as well; a section of its own."""
    tokens_per_batch: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a worker's batch, padding included."""
    accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients are added before a step of the optimizer."""
    max_tokens: Annotated[int, Field(ge=3)] = 128
    """Tokens that the model takes at once; carried into the bundle."""
    truncation: Mode = "head"
    """What is read of a text with more tokens: head, tail, head_tail (its ends) or windows; carried into the bundle."""
    pooling: Pooling = "mean"
    """With windows, how the logits of a text's windows become those of the text: mean or max."""
    window_overlap: Overlap = 0.25
    """With windows, the share of a window that repeats the end of the one before."""
    max_windows: NumWindows = 16
    """With windows, how many are read of a text; what is beyond is cut."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout everywhere in the model; by default what its configuration says."""
    frozen_layers: Annotated[int, Field(ge=0)] = 0
    """Lowest layers that are not trained, the embeddings with the first of them."""
    lora_rank: Annotated[int, Field(ge=1)] | None = None
    """Train low-rank additions of this rank and the head instead of all weights; checkpoints hold them merged."""
    gradient_checkpointing: bool = False
    """Compute activations again instead of keeping them: less memory, about a third more time."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 autocast where the device multiplies faster in it, which is tried at the start, otherwise fp32."""
    best_by: Literal["macro_f1", "accuracy", "validation_loss"] = "macro_f1"
    """What the best checkpoint is best in, on the validation split."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 1
    """Checkpoints of finished epochs to keep, the best ones."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds after which a checkpoint is written within an epoch."""
    num_workers: Annotated[
        Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
        BeforeValidator(_range),
    ] = 1
    """Data-parallel workers; two numbers for as many as the cluster has room for between them."""
    cpus_per_worker: Annotated[float, Field(gt=0)] | None = None
    """CPUs of a worker, a fraction allowed; by default three quarters of the most for which all find room."""
    use_gpu: bool = False
    """One GPU for each worker."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Deaths of workers after which the training gives up; each goes on from the last checkpoint."""
    track: Names = ()
    """Where metrics go beside metrics.jsonl: of tensorboard, mlflow, trackio."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of weights, order and dropout."""

    @property
    def max_workers(self) -> int:
        """The largest number of workers."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def min_workers(self) -> int:
        """The smallest number of workers."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "TrainConfig":
        if not self.model and not self.start_from:
            raise ValueError("the key 'model' is missing. Name an encoder, or with start_from an earlier run.")
        if self.replay and not self.start_from:
            raise ValueError(f"replay = {self.replay:g} needs the earlier run whose rows it means: start_from.")
        unknown = [name for name in self.track if name not in TRACKERS]
        if unknown:
            raise ValueError(f"track = {unknown[0]!r} is unknown. Known: {', '.join(TRACKERS)}.")
        if self.min_workers > self.max_workers:
            raise ValueError(f"num_workers = {list(self.num_workers)}: write the smaller number first.")  # type: ignore[arg-type]
        if self.lora_rank and self.frozen_layers:
            raise ValueError("lora_rank leaves all layers as they are, so frozen_layers has no meaning. Drop one.")
        for key in OF_WINDOWS if self.truncation != "windows" else ():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(f"{key} = {value!r} is for truncation = 'windows', here it is {self.truncation!r}.")
        return self
