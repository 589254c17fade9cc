"""The keys of [train]; knows no torch and no Ray, so that --help is quick."""

from typing import Annotated, Literal

from pydantic import Field

from sentiment_ray.config import StageConfig

Share = Annotated[float, Field(ge=0, lt=1)]


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
    """Tokens kept of each text; carried into the bundle."""
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
