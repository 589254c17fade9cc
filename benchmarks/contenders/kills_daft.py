"""Daft, started again after a kill; with `--resumable` on its Ray runner, with checkpoints of rows and a Delta table.

https://docs.daft.ai/en/stable/use-case/checkpointing/. The checkpoints need a column of unique ids, the Ray runner, and
a table format whose commits can be recognised.
"""

import daft
from contender import parse_task
from stand_in import label_texts

ROWS_PER_BATCH = 64
PART_BYTES = 1 << 16
"""Size of a part; a small corpus has several then, as a large one has."""


@daft.func.batch(return_dtype=daft.DataType.string(), batch_size=ROWS_PER_BATCH)
def label(texts: daft.Series) -> list[str]:
    """Return the label of every text of a batch."""
    return label_texts(texts.to_pylist())


def main() -> None:
    """Read, classify, write."""
    task = parse_task(__doc__)
    daft.set_execution_config(parquet_target_filesize=PART_BYTES)
    if "--resumable" not in task.rest:
        rows = daft.read_parquet(f"{task.input}/*.parquet")
        rows.with_column("label", label(rows["text"])).write_parquet(task.output)
        return
    import ray

    ray.init("local", num_cpus=task.threads + 2, include_dashboard=False)
    daft.set_runner_ray(noop_if_initialized=True)
    store = daft.CheckpointStore(f"file://{task.output}.checkpoint")
    rows = daft.read_parquet(f"{task.input}/*.parquet", checkpoint=daft.CheckpointConfig(store=store, on="id"))
    labelled = rows.with_column("label", label(rows["text"]))
    labelled.write_deltalake(task.output, checkpoint=daft.IdempotentCommit(store=store, idempotence_key="kills"))


if __name__ == "__main__":
    main()
