"""What every task of prepare_reviews gets: the configuration, where to write, and what is known about all rows."""

from dataclasses import dataclass, field
from pathlib import Path

from sentiment_ray.data.balance import Balance
from sentiment_ray.data.check_config import SampledShares
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.split import SplitContext


@dataclass(frozen=True)
class PrepareJob:
    """The input that all tasks share; `prepare` fills in the last four fields between the rounds of tasks."""

    config: PrepareConfig
    directory: Path
    """The directory to write to, on storage that all nodes of the cluster share."""
    num_buckets: int
    split_context: SplitContext = field(default_factory=SplitContext)
    balance: Balance | None = None
    known_texts: tuple[Path | None, ...] = ()
    """For each bucket the file of its texts' sorted keys; only with `augment`, whose copies must be new texts."""
    sampled_shares: SampledShares = SampledShares()
    """The shares of the rows that slow checks examine."""
