"""The actor that scores units: Parquet rows in, a part and its receipt out; knows nothing of other units."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from sentiment_ray.manifest import sha256_of_file
from sentiment_ray.predictor import Predictor, Scores
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.plan import Unit

BATCH_ROWS = 16_384
"""Rows in memory at a time: enough for batches of one length, few enough for any row."""
QUARANTINE_SCHEMA = pa.schema(
    [("path", pa.string()), ("row", pa.int64()), ("rows", pa.int64()), ("reason", pa.string())]
)


def new_columns(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns that scoring adds, in order."""
    return (
        "sentiment_label", "sentiment_score", *(f"sentiment_{label}" for label in labels),
        "sentiment_tokens", "sentiment_truncated",
    )  # fmt: skip


class Scorer:
    """A Predictor of one bundle, loaded once for an actor."""

    def __init__(self, config: ScoreConfig, directory: str) -> None:
        threads = max(1, round(config.cpus_per_worker))
        self._predictor = Predictor.load(config.bundle, engine=config.engine, variant=config.variant, threads=threads)
        self._config = config
        self._directory = Path(directory)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the units of a batch, given as JSON, and return their receipts as JSON."""
        receipts = [json.dumps(self.score_unit(Unit(**json.loads(text)))) for text in batch["unit"]]
        return {"receipt": np.array(receipts, dtype=object)}

    def score_unit(self, unit: Unit) -> dict[str, Any]:
        """Write a unit's part and its quarantined rows, and return the receipt: rows, bytes and sha256 of the part."""
        target = self._directory / unit.part
        target.parent.mkdir(parents=True, exist_ok=True)
        quarantined: list[dict[str, Any]] = []
        try:
            num_scored = self._write_part(unit, target, quarantined)
        except (pa.ArrowException, OSError) as error:
            reason = f"row groups {unit.row_groups} cannot be read: {str(error).splitlines()[0]}"
            quarantined = [{"path": unit.path, "row": None, "rows": unit.num_rows, "reason": reason}]
            num_scored = 0
            target.unlink(missing_ok=True)
        write_quarantine(self._directory, unit.part, quarantined)
        written = target.exists()
        return {
            "path": unit.part,
            "input": unit.path,
            "rows_in": unit.num_rows,
            "rows": num_scored,
            "rows_quarantined": sum(row["rows"] for row in quarantined),
            "bytes": target.stat().st_size if written else 0,
            "sha256": sha256_of_file(target) if written else None,
        }

    def _write_part(self, unit: Unit, target: Path, quarantined: list[dict[str, Any]]) -> int:
        config, labels = self._config, self._predictor.labels
        num_scored, row = 0, unit.first_row
        with parquet.ParquetFile(unit.path) as file:
            names = list(config.columns) or file.schema_arrow.names
            schema = self._output_schema(file.schema_arrow, names)
            read = list(dict.fromkeys([*names, config.text_column]))
            with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
                for table in _tables(file, unit.row_groups, read):
                    good, reasons = _scorable(table.column(config.text_column))
                    quarantined += [
                        {"path": unit.path, "row": row + index, "rows": 1, "reason": reason}
                        for index, reason in reasons.items()
                    ]
                    kept = table.filter(good)
                    texts = kept.column(config.text_column).to_pylist()
                    scores = self._predictor.score(texts, tokens_per_batch=config.tokens_per_batch)
                    columns = [*(kept.column(name) for name in names), *score_columns(scores, labels)]
                    writer.write_table(pa.table(columns, schema=schema))
                    num_scored += len(texts)
                    row += len(table)
        return num_scored

    def _output_schema(self, schema: pa.Schema, names: list[str]) -> pa.Schema:
        labels = self._predictor.labels
        kinds = [pa.string(), pa.float32(), *[pa.float32()] * len(labels), pa.int32(), pa.bool_()]
        added = [pa.field(name, kind) for name, kind in zip(new_columns(labels), kinds, strict=True)]
        bundle_id = self._predictor.bundle.manifest.bundle_id
        metadata = (schema.metadata or {}) | {b"sentiment_ray.bundle_id": bundle_id.encode()}
        return pa.schema([*(schema.field(name) for name in names), *added], metadata=metadata)


def score_columns(scores: Scores, labels: tuple[str, ...]) -> list[pa.Array]:
    """Return the columns named by `new_columns`: label, score, a probability for each label, tokens, truncated."""
    best = scores.probabilities[np.arange(len(scores.label_ids)), scores.label_ids]
    return [
        pa.array([labels[label_id] for label_id in scores.label_ids], pa.string()),
        pa.array(best, pa.float32()),
        *(pa.array(scores.probabilities[:, index], pa.float32()) for index in range(len(labels))),
        pa.array(scores.tokens, pa.int32()),
        pa.array(scores.truncated, pa.bool_()),
    ]


def write_quarantine(directory: Path, part: str, rows: list[dict[str, Any]]) -> None:
    """Write rows that could not be scored under the same relative name as their part; nothing when there are none."""
    if rows:
        target = directory / "_quarantine" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), target)


def _tables(file: parquet.ParquetFile, row_groups: tuple[int, ...], columns: list[str]) -> Iterator[pa.Table]:
    for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=list(row_groups), columns=columns):
        yield pa.Table.from_batches([batch])


def _scorable(texts: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[int, str]]:
    """Return which texts can be scored, and for the others their place and reason."""
    plain = texts.cast(pa.string()) if pa.types.is_dictionary(texts.type) else texts
    good = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(plain), ""), False)
    bad = np.flatnonzero(~np.array(good.to_pylist(), dtype=bool))
    return good, {int(index): "text is empty" if plain[int(index)].is_valid else "text is null" for index in bad}
