"""Ray Data, started again after a kill; with `--resumable` with its own checkpoints of rows.

https://docs.ray.io/en/latest/data/api/doc/ray.data.checkpoint.interfaces.CheckpointConfig.html. The checkpoints need a
column of unique ids.
"""

import numpy as np
import ray
from contender import parse_task
from ray.data.checkpoint import CheckpointConfig
from stand_in import label_texts

ROWS_PER_BATCH = 64
BLOCK_BYTES = 1 << 16
"""Size of a block; a small corpus has several then, each written by itself, as a large one has."""


class TextClassifier:
    """Labels the texts of a batch."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add the label of every text of a batch."""
        return batch | {"label": np.array(label_texts(batch["text"]))}


def main() -> None:
    """Read, classify in one actor for each thread, write."""
    task = parse_task(__doc__)
    ray.init("local", num_cpus=task.threads + 2, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.target_min_block_size, context.target_max_block_size = 1, BLOCK_BYTES
    if "--resumable" in task.rest:
        context.checkpoint_config = CheckpointConfig(id_column="id", checkpoint_path=f"{task.output}.checkpoint")
    rows = ray.data.read_parquet(task.input)
    labelled = rows.map_batches(
        TextClassifier, compute=ray.data.ActorPoolStrategy(size=task.threads), batch_size=ROWS_PER_BATCH
    )
    labelled.write_parquet(task.output)


if __name__ == "__main__":
    main()
