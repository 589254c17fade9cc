"""The keys of [score]; knows no Ray and no Parquet, so that --help is quick."""

from typing import Annotated

from pydantic import Field

from sentiment_ray.config import Names, StageConfig


class ScoreConfig(StageConfig):
    """Keys of [score]."""

    bundle: str
    """Directory that export_bundle wrote."""
    input: str
    """Parquet to score: a file, a directory with everything below it, or a glob."""
    text_column: str = "text"
    """Column that holds the review."""
    columns: Names = ()
    """Columns of the input to carry into the output; by default all of them."""
    num_workers: Annotated[int, Field(ge=1)] | None = None
    """Actors that score, each with an engine of its own; by default as many as the CPUs allow."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs, and so threads, of each actor."""
    unit_rows: Annotated[int, Field(ge=1)] = 100_000
    """Rows that an actor takes at a time: whole row groups of one file, as many as fit."""
    tokens_per_batch: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a batch, padding included."""
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of rows, or of files, in quarantine above which nothing is written and the exit code is 3."""
    engine: str = "auto"
    """onnxruntime or openvino; auto takes the fastest that passed the bundle's gate."""
    variant: str = "auto"
    """Variant of the bundle; auto takes the fastest that passed its gate."""
