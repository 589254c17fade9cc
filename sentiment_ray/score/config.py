"""The keys of [score]; knows no Ray and no Parquet, so that --help is quick."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sentiment_ray.config.sections import Names, Share, StageConfig


class ScoreConfig(StageConfig):
    """Keys of [score]. Paths are local or any URL that fsspec knows (s3://, gs://, …)."""

    bundle: str
    """Directory that export_bundle wrote."""
    input: str
    """Parquet to score: a file, a directory with everything below it, or a glob."""
    text_column: Names = ("text",)
    """Column that holds the review; several, as title,body, are read one after the other, a line each."""
    columns: Names = ()
    """Columns of the input to carry into the output; by default all of them."""
    drop_text: bool = False
    """Leave the text itself out of the output."""
    prefix: str = "sentiment_"
    """What the names of the added columns begin with."""
    probabilities: bool = True
    """Add a column with the probability of each label."""
    group_by: str | None = None
    """Column to aggregate by, into _groups/groups.parquet: rows, mean probabilities, share of uncertain rows."""
    uncertain_below: Share = 0.6
    """Score under which a row counts as uncertain in the groups."""
    num_workers: Annotated[int, Field(ge=1)] | None = None
    """Actors that score, each with an engine of its own; by default as many as the cluster's CPUs allow."""
    max_workers: Annotated[int, Field(ge=1)] | None = None
    """Actors that the pool may grow to, on a cluster that adds nodes; by default it keeps its first size."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs, and so threads, of each actor."""
    unit_rows: Annotated[int, Field(ge=1)] = 100_000
    """Rows that an actor takes at a time: whole row groups of one file, as many as fit."""
    tokens_per_batch: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a batch; its texts have one length, rounded up a little."""
    remembered_texts: Annotated[int, Field(ge=0)] = 1_000_000
    """Places for texts whose scores all actors share, some 60 bytes each; a text that is met again costs nothing."""
    max_row_bytes: Annotated[int, Field(ge=1)] = 1 << 20
    """Bytes of all strings of a row, decoded, above which the row is quarantined."""
    max_quarantined: Share = 0.05
    """Share of rows, or of files, in quarantine above which nothing is committed and the exit code is 3."""
    engine: str = "auto"
    """openvino, onnxruntime, cuda or tensorrt; auto takes the fastest on the CPU that passed the bundle's gate."""
    variant: str = "auto"
    """Variant of the bundle; auto takes the fastest that passed its gate."""
    sink: Literal["parquet", "delta", "iceberg"] = "parquet"
    """Table that the parts are also committed to, where they stand: of Delta Lake in the output itself, or Iceberg."""
    iceberg_table: str | None = None
    """With --sink iceberg: namespace.table, made when it is missing."""
    iceberg_catalog: str = "default"
    """With --sink iceberg: name of a catalog in .pyiceberg.yaml or in PYICEBERG_CATALOG__ variables."""
    plan: bool = False
    """Print files, rows, token lengths, speed, time and cost, measured on a sample, and score nothing."""
    price_per_hour: Annotated[float, Field(gt=0)] | None = None
    """With --plan: price of an hour of one worker, in any currency."""
    within_hours: Annotated[float, Field(gt=0)] | None = None
    """With --plan: say how many workers finish in that time."""
    progress: Literal["auto", "json", "none"] = "auto"
    """On stderr: a bar on a terminal (auto), a JSON line every ten seconds (json), or nothing."""

    @model_validator(mode="after")
    def _groups_have_a_name_of_their_own(self) -> "ScoreConfig":
        if self.group_by in ("rows", "uncertain_share") or (self.group_by or "").startswith("mean_"):
            raise ValueError(f"group_by = {self.group_by!r} is what a column of _groups is called. Rename the column.")
        return self

    @model_validator(mode="after")
    def _iceberg_needs_a_table(self) -> "ScoreConfig":
        if self.sink == "iceberg" and "." not in (self.iceberg_table or ""):
            raise ValueError("sink = 'iceberg' needs a table. Pass --iceberg-table namespace.table.")
        return self


HOW = (
    "output", "restart", "bundle", "num_workers", "max_workers", "cpus_per_worker", "remembered_texts",
    "max_quarantined", "engine", "variant", "sink", "iceberg_table", "iceberg_catalog", "plan", "price_per_hour",
    "within_hours", "progress",
)  # fmt: skip
"""Keys that say how a corpus is scored and not what a row gets: a run may go on with other values of these."""
