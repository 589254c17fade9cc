"""Sums scores by the values of a column, for a chunk of rows, a unit or the whole corpus; knows no files."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentiment_ray.inference.scoring import Scores


def sum_by_group(keys: pa.ChunkedArray, scores: Scores, labels: Sequence[str], uncertain_below: float) -> pa.Table:
    """Return one row a value of `keys`: `group`, the counts `rows` and `uncertain`, and the sums `sum_<label>`.

    `sum_<label>` adds up the probabilities of a label. A row is uncertain when its highest probability is below
    `uncertain_below`.
    """
    highest = scores.probabilities.max(axis=1, initial=0)
    sums = {f"sum_{label}": scores.probabilities[:, index].astype(np.float64) for index, label in enumerate(labels)}
    if pa.types.is_dictionary(keys.type):
        keys = keys.cast(keys.type.value_type)
    rows = {"rows": np.ones(len(highest), np.int64), "uncertain": (highest < uncertain_below).astype(np.int64)}
    return merge_group_sums([pa.table({"group": keys, **rows, **sums})])


def merge_group_sums(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the sums over several tables of `sum_by_group`, sorted by group."""
    table = pa.concat_tables(tables, promote_options="permissive")
    names = [name for name in table.column_names if name != "group"]
    merged = table.group_by("group", use_threads=False).aggregate([(name, "sum") for name in names])
    merged = merged.sort_by("group") if len(merged) else merged
    return pa.table({"group": merged["group"]} | {name: merged[f"{name}_sum"] for name in names})


def compute_group_means(table: pa.Table, group_by: str, labels: Sequence[str]) -> pa.Table:
    """Return the table that people read: the group, `rows`, `mean_<label>` for each label and `uncertain_share`."""
    rows = np.maximum(table["rows"].to_numpy(), 1)
    means = {f"mean_{label}": table[f"sum_{label}"].to_numpy() / rows for label in labels}
    return pa.table(
        {
            group_by: table["group"],
            "rows": table["rows"],
            **means,
            "uncertain_share": table["uncertain"].to_numpy() / rows,
        }
    )
