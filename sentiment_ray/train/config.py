"""The keys of [train]; knows no torch and no Ray, so that --help is quick."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sentiment_ray.config import StageConfig
from sentiment_ray.truncation import Mode, NumWindows, Overlap, Pooling

Share = Annotated[float, Field(ge=0, lt=1)]
OF_WINDOWS = ("pooling", "window_overlap", "max_windows")
"""Keys that say something of windows alone."""


class TrainConfig(StageConfig):
    """Keys of [train]."""

    prepared: str
    """Directory that prepare_reviews wrote."""
    model: str
    """Encoder to start from: a local directory, or a name on the Hugging Face Hub."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over the training split."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Highest learning rate, reached after the warm-up."""
    warmup_share: Share = 0.1
    """Share of the training in which the learning rate rises; then it falls linearly to zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decay of weights; biases and norms have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 autocast where the device has fast bf16 matrix units, otherwise fp32."""
    num_workers: Annotated[int, Field(ge=1)] = 1
    """Data-parallel workers."""
    cpus_per_worker: Annotated[float, Field(gt=0)] | None = None
    """CPUs of a worker, a fraction allowed; by default three quarters of the cluster's, divided among the workers."""
    use_gpu: bool = False
    """One GPU for each worker."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Deaths of workers after which the training gives up; each goes on from the last checkpoint."""
    seed: int = 0
    """Seed of weights, order and dropout."""

    @model_validator(mode="after")
    def _windows_are_asked_for(self) -> "TrainConfig":
        for key in OF_WINDOWS if self.truncation != "windows" else ():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(f"{key} = {value!r} is for truncation = 'windows', here it is {self.truncation!r}.")
        return self
