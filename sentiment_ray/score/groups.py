"""Sums of scores by a column's values, of a window, a unit or the whole corpus; knows no files."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sentiment_ray.inference.predictor import Scores


def group_scores(keys: pa.ChunkedArray, scores: Scores, labels: Sequence[str], uncertain_below: float) -> pa.Table:
    """Return one row a value of `keys`: `group`, `rows` and `uncertain` (counts), `sum_<label>` (probabilities)."""
    best = scores.probabilities.max(axis=1, initial=0)
    sums = {f"sum_{label}": scores.probabilities[:, place].astype(np.float64) for place, label in enumerate(labels)}
    if pa.types.is_dictionary(keys.type):
        keys = keys.cast(keys.type.value_type)
    rows = {"rows": np.ones(len(best), np.int64), "uncertain": (best < uncertain_below).astype(np.int64)}
    return add_groups([pa.table({"group": keys, **rows, **sums})])


def add_groups(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the sums of several such tables, sorted by group."""
    table = pa.concat_tables(tables, promote_options="permissive")
    names = [name for name in table.column_names if name != "group"]
    added = table.group_by("group", use_threads=False).aggregate([(name, "sum") for name in names])
    order = added.sort_by("group") if len(added) else added
    return pa.table({"group": order["group"]} | {name: order[f"{name}_sum"] for name in names})


def mean_groups(table: pa.Table, group_by: str, labels: Sequence[str]) -> pa.Table:
    """Return the table for people: the group, `rows`, `mean_<label>` a label and `uncertain_share`."""
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
