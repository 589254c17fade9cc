"""Scores random rows of a finished output again, each alone, and compares them with the scores in the output."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.bundle.files import MAX_FILES
from sentiment_ray.bundle.manifest import MAX_BUNDLE_BYTES
from sentiment_ray.column_names import resolve_column
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import DataError, GateError
from sentiment_ray.inference.predictor import SELF_TEST_SLACK, Predictor
from sentiment_ray.local_copy import local_copy
from sentiment_ray.paths import absolute_location
from sentiment_ray.score.chunks import extract_texts
from sentiment_ray.score.output_names import MANIFEST_NAME, name_quarantine
from sentiment_ray.score.plan import Plan, Unit
from sentiment_ray.score.plan_file import UnitReader, read_plan
from sentiment_ray.score.reading import open_parquet, read_chunks
from sentiment_ray.score.receipt_shards import FILE_COLUMNS, read_receipt_shard
from sentiment_ray.score.scores_manifest import ScoresManifest, parse_manifest
from sentiment_ray.storage import Store, open_store

MAX_DIFFERENCE = 1e-3
"""Largest difference of a probability that fp32 can have between batches of different texts."""


def compare_sample(
    location: str, bundle: str, *, rows: int, seed: int = 0, require_signature: str | None = None
) -> dict[str, Any]:
    """Score `rows` random rows of an output again, each alone, and compare them with the scores in the output.

    The texts are read from the input. GateError when a probability differs by more than `_max_difference` allows.
    """
    store = open_store(absolute_location(location, "PATH"))
    manifest, plan = parse_manifest(store.read(MANIFEST_NAME)), read_plan(store)
    if plan is None:
        raise DataError(f"{location} has no plan. Restore the output, or run the same job with --restart.")
    predictor = _load_predictor(bundle, manifest, require_signature)
    generator = random.Random(seed)
    num_rows = dict(_iterate_part_rows(store, plan, manifest))
    drawn = generator.choices([*num_rows], weights=[*num_rows.values()], k=rows) if any(num_rows.values()) else []
    config, units = manifest.facts.config, UnitReader(store, plan)
    max_difference = _max_difference(predictor, config["tokens_per_batch"])
    largest, checked = 0.0, 0
    for number, count in sorted(Counter(drawn).items()):
        unit = units.read(number)
        table = _read_table(store, unit.part)
        rows_of_part = sorted(generator.sample(range(len(table)), min(count, len(table))))
        texts = _read_texts(store, unit, config, rows_of_part)
        for row, text in zip(rows_of_part, texts, strict=True):
            scored = {key: table[config["prefix"] + key][row].as_py() for key in ("label", "score")}
            difference, label = _compare_row(scored, text, predictor)
            if scored["label"] != label and difference > max_difference:
                raise GateError(
                    f"{unit.part}: row {row} is {scored['label']!r}, but a fresh prediction of its text is {label!r}."
                )
            largest = max(largest, difference)
            checked += 1
    if largest > max_difference:
        raise GateError(f"{location}: a probability differs by {largest:.2g} from a fresh prediction of its text.")
    return {"sampled": checked, "largest_difference": largest}


def _load_predictor(bundle: str, manifest: ScoresManifest, require_signature: str | None) -> Predictor:
    """Return a predictor of the bundle that made the scores; DataError when the bundle is another one."""
    bundle, facts = absolute_location(bundle, "bundle"), manifest.facts
    with local_copy(bundle, "bundle", max_files=MAX_FILES, max_bytes=MAX_BUNDLE_BYTES) as directory:
        predictor = Predictor.load(
            directory, engine=facts.engine, variant=facts.variant, require_signature=require_signature
        )
    if predictor.manifest.bundle_id != facts.bundle_id:
        raise DataError(
            f"{bundle} is bundle {predictor.manifest.bundle_id}, but bundle {facts.bundle_id} made the scores."
        )
    return predictor


def _iterate_part_rows(store: Store, plan: Plan, manifest: ScoresManifest) -> Iterator[tuple[int, int]]:
    """Yield the number of each unit and the rows of its part."""
    rows_by_part = {part.path: part.rows for part in manifest.parts}
    for unit in plan.old_units:
        yield unit.number, rows_by_part.get(unit.part, 0)
    for shard in plan.shards:
        found = read_receipt_shard(store, plan, shard, columns=FILE_COLUMNS)
        if found:
            yield from zip(found.table["unit"].to_pylist(), found.table["rows"].to_pylist(), strict=True)


def _max_difference(predictor: Predictor, tokens_per_batch: int) -> float:
    """Return how far a probability of a text that is scored alone may be from the one that it got in a large batch.

    Where the bits depend on the batch, this is what the gate measured and the slack of the self-test.
    """
    if predictor.is_batch_invariant(tokens_per_batch=tokens_per_batch):
        return MAX_DIFFERENCE
    gate = predictor.manifest.variants[predictor.variant].gate[ENGINES[predictor.engine].gate_engine]
    return float(gate.get("batches", {}).get("max_difference_alone", 0)) + SELF_TEST_SLACK


def _compare_row(scored: dict[str, Any], text: str, predictor: Predictor) -> tuple[float, str]:
    """Return how far the probability of a row's label is from a fresh one, and the fresh label."""
    answer = predictor.predict([text])[0]
    return abs(scored["score"] - answer.probabilities[scored["label"]]), answer.label


def _read_texts(store: Store, unit: Unit, config: Any, rows_of_part: list[int]) -> list[str]:
    """Read the texts of some rows of a part from the input; the quarantined rows of the unit are not in the part."""
    quarantined: set[int] = set()
    name = name_quarantine(unit.part)
    if store.describe(name):
        for row in _read_table(store, name).to_pylist():
            quarantined.update(range(row["row"], row["row"] + row["rows"]))
    rows = [row for row in range(unit.first_row, unit.first_row + unit.num_rows) if row not in quarantined]
    wanted = [rows[row] for row in rows_of_part]
    columns, longest = config["text_column"], config["max_row_bytes"]
    texts: dict[int, str | None] = {}
    with open_parquet(unit) as file:
        columns = [resolve_column(name, file.schema.names) or name for name in columns]
        schema = pa.schema([file.schema.field(name) for name in columns])
        for chunk in read_chunks(file, schema, unit, max_row_bytes=longest):
            if chunk.table is not None:
                chunk_texts, _ = extract_texts(chunk, columns)
                inside = [row for row in wanted if 0 <= row - chunk.first_row < chunk.num_rows]
                texts |= {row: chunk_texts[row - chunk.first_row] for row in inside}
    return [texts[row] or "" for row in wanted]


def _read_table(store: Store, name: str) -> pa.Table:
    with store.fs.open(store.path(name), "rb") as handle, parquet.ParquetFile(handle) as file:
        return file.read()
