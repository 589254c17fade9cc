"""The keys of [score]; knows no Ray and no Parquet, so that --help is quick."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from sentiment_ray.config.sections import Names, Share, StageConfig
from sentiment_ray.engine_specs import get_batching, list_engines


class ScoreConfig(StageConfig):
    """Keys of [score]. Paths are local, or URLs that fsspec knows (s3://, gs://, …)."""

    renamed: ClassVar[Mapping[str, str]] = {"remembered_texts": "max_cached_texts"}

    bundle: str
    """Directory of the bundle that export_bundle wrote."""
    input: str
    """Parquet files to score: a file, a directory with its subdirectories, or a glob."""
    text_column: Names = ("text",)
    """Column with the review. Several columns, as in title,body, are joined, one line each."""
    columns: Names = ()
    """Columns of the input to copy into the output. The default is all columns."""
    drop_text: bool = False
    """Leave the text columns out of the output."""
    prefix: str = "sentiment_"
    """Prefix of the names of the added columns."""
    probabilities: bool = True
    """Add one column for each label with its probability, 0 to 1."""
    group_by: str | None = None
    """Column to group by. _groups/groups.parquet then has rows, mean probabilities and uncertain rows of each value."""
    uncertain_below: Share = 0.6
    """Score, 0 to 1, below which a row counts as uncertain in _groups/groups.parquet."""
    num_workers: Annotated[int, Field(ge=1)] | None = None
    """Number of workers, each with its own engine. The default is as many as fit the CPUs of the cluster."""
    max_workers: Annotated[int, Field(ge=1)] | None = None
    """Number of workers that the pool may grow to when the cluster adds nodes. By default the pool does not grow."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs, and threads, of each worker."""
    unit_rows: Annotated[int, Field(ge=1)] = 100_000
    """Maximum rows of a unit, which one worker scores into one part. A unit has at least one row group."""
    tokens_per_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Maximum tokens of a batch, whose texts have about the same length. auto is 2048 on a CPU and 32768 on a GPU."""
    max_cached_texts: Annotated[int, Field(ge=0)] = 1_000_000
    """Maximum texts in the cache of scores that all workers share, about 60 bytes each. 0 turns the cache off."""
    max_row_bytes: Annotated[int, Field(ge=1)] = 1 << 20
    """Maximum bytes of all strings of a row together. Longer rows are quarantined."""
    max_quarantined: Share = 0.05
    """Maximum share of rows, or of files, in quarantine, 0 to 1. Above it nothing is committed; exit code 3."""
    engine: str = Field(
        "auto",
        description=f"{list_engines()}. auto is the fastest that passed the bundle's gate, on the CPU or a GPU.",
    )
    variant: str = "auto"
    """Variant of the bundle. auto is the fastest that passed its gate."""
    require_signature: str | None = None
    """File with a public key (PEM). A bundle that its owner did not sign is refused."""
    sink: Literal["parquet", "delta", "iceberg"] = "parquet"
    """Table to commit the parts to, in place: delta makes the output a Delta Lake table, iceberg adds to a table."""
    iceberg_table: str | None = None
    """With --sink iceberg: namespace.table. It is created if it does not exist."""
    iceberg_catalog: str = "default"
    """With --sink iceberg: name of the catalog in .pyiceberg.yaml or in PYICEBERG_CATALOG__ variables."""
    repair: bool = False
    """Read every byte of an output of this run, and score again what is missing or damaged."""
    wait: bool = True
    """Wait while another run writes into the output. With --no-wait the run is refused."""
    plan: bool = False
    """Score nothing: print files, rows, text lengths, speed, time and cost, estimated from a sample."""
    price_per_hour: Annotated[float, Field(gt=0)] | None = None
    """With --plan: price of one worker for one hour, in any currency."""
    within_hours: Annotated[float, Field(gt=0)] | None = None
    """With --plan: hours to finish in. The output says how many workers that takes."""
    progress: Literal["auto", "json", "none"] = "auto"
    """Progress on stderr: a bar on a terminal (auto), a JSON line every 10 seconds (json), or none."""

    def with_engine(self, engine: str) -> "ScoreConfig":
        """Return the configuration with the number that suits an engine in the place of tokens_per_batch = "auto"."""
        if self.tokens_per_batch != "auto":
            return self
        return self.model_copy(update={"tokens_per_batch": get_batching(engine).tokens_per_batch})

    @property
    def token_budget(self) -> int:
        """`tokens_per_batch` as a number, which it is once the engine is known."""
        assert self.tokens_per_batch != "auto"
        return self.tokens_per_batch

    @property
    def threads_per_worker(self) -> int:
        """The threads of a worker's engine and of its tokenizer."""
        return max(1, round(self.cpus_per_worker))

    @model_validator(mode="after")
    def _check_group_by_is_no_output_column(self) -> "ScoreConfig":
        if self.group_by in ("rows", "uncertain_share") or (self.group_by or "").startswith("mean_"):
            raise ValueError(
                f"group_by = {self.group_by!r} is also the name of another column in _groups. Rename the column."
            )
        return self

    @model_validator(mode="after")
    def _check_iceberg_has_a_table(self) -> "ScoreConfig":
        if self.sink == "iceberg" and "." not in (self.iceberg_table or ""):
            raise ValueError("sink = 'iceberg' needs a table. Pass --iceberg-table namespace.table.")
        return self


EXECUTION_KEYS = (
    "output", "restart", "repair", "wait", "bundle", "num_workers", "max_workers", "cpus_per_worker",
    "max_cached_texts", "max_quarantined", "engine", "variant", "require_signature", "sink", "iceberg_table",
    "iceberg_catalog", "plan", "price_per_hour", "within_hours", "progress",
)  # fmt: skip
"""Keys that do not change the scores of a row: a run may be resumed with other values of these."""
