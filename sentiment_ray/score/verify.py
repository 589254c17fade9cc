"""Verifies a finished output: every byte against the manifest, every sum against the plan, and a sample of scores."""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from tqdm import tqdm

from sentiment_ray import log
from sentiment_ray.bundle.files import MAX_FILES
from sentiment_ray.bundle.manifest import MAX_BUNDLE_BYTES
from sentiment_ray.column_names import resolve_column
from sentiment_ray.engine_specs import ENGINES
from sentiment_ray.errors import DataError, GateError
from sentiment_ray.inference.predictor import SELF_TEST_SLACK, Predictor
from sentiment_ray.local_copy import local_copy
from sentiment_ray.output_lock import is_lock_name
from sentiment_ray.paths import absolute_location
from sentiment_ray.score.chunks import extract_texts
from sentiment_ray.score.output_names import MANIFEST_NAME, SUCCESS_NAME
from sentiment_ray.score.plan import Unit, parse_unit, read_plan
from sentiment_ray.score.reading import open_parquet, read_chunks
from sentiment_ray.storage import Store, open_store

MAX_DIFFERENCE = 1e-3
"""Largest difference of a probability that fp32 can have between batches of different texts."""


def verify_scores(location: str) -> dict[str, Any]:
    """Read a whole output and compare it with its manifest; DataError names the first defect and counts the others."""
    store = open_store(absolute_location(location, "PATH"))
    problems = list(find_problems(store))
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(f"{location}: {problems[0]}{more}. Restore the output, or run the same job with --repair.")
    manifest = json.loads(store.read(MANIFEST_NAME))
    counts = {key: manifest[key] for key in ("rows_in", "rows_scored", "rows_quarantined")}
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    return {"scores": location, "verified": True, "files": len(manifest["files"]), "bytes": size, **counts}


def find_problems(store: Store) -> Iterator[str]:
    """Yield a sentence for every defect: a file is missing, added or changed, or rows do not add up."""
    present = store.list()
    for name in (MANIFEST_NAME, SUCCESS_NAME):
        if name not in present:
            yield f"{name} is missing: the run has not finished"
            return
    data = store.read(MANIFEST_NAME)
    if store.read(SUCCESS_NAME) != (hashlib.sha256(data).hexdigest() + "\n").encode():
        yield f"{MANIFEST_NAME} is not the one that {SUCCESS_NAME} names"
        return
    manifest = json.loads(data)
    files = manifest["files"]
    known = {*files, MANIFEST_NAME, SUCCESS_NAME}
    # A run that crashes right after its last step leaves its lock behind, which only the next run reads.
    extra = [name for name in present if name not in known and not is_lock_name(name)]
    yield from (f"{name} is not in the manifest" for name in extra)
    missing = {name for name in files if name not in present}
    yield from (f"{name} is missing" for name in sorted(missing))
    changed = set()
    for name in tqdm(
        [name for name in files if name not in missing], desc="verifying", disable=log.hide_bars(), leave=False
    ):
        entry = files[name]
        if present[name].bytes != entry["bytes"] or store.sha256(name) != entry["sha256"]:
            changed.add(name)
            yield f"{name} is not the file that was written"
    if not missing and not changed:
        yield from _find_wrong_sums(store, manifest)


def compare_sample(
    location: str, bundle: str, *, rows: int, seed: int = 0, require_signature: str | None = None
) -> dict[str, Any]:
    """Score `rows` random rows of an output again, each alone, and compare them with the scores in the output.

    The texts are read from the input. GateError when a probability differs by more than `_max_difference` allows.
    """
    store = open_store(absolute_location(location, "PATH"))
    manifest = json.loads(store.read(MANIFEST_NAME))
    bundle = absolute_location(bundle, "bundle")
    with local_copy(bundle, "bundle", max_files=MAX_FILES, max_bytes=MAX_BUNDLE_BYTES) as directory:
        predictor = Predictor.load(
            directory,
            engine=manifest["engine"],
            variant=manifest["variant"],
            require_signature=require_signature,
        )
    if predictor.manifest.bundle_id != manifest["bundle_id"]:
        raise DataError(
            f"{bundle} is bundle {predictor.manifest.bundle_id}, but bundle {manifest['bundle_id']} made the scores."
        )
    plan = json.loads(store.read("_plan/plan.json"))
    units = {unit["part"]: parse_unit(unit) for unit in plan["units"]}
    parts = [part for part in manifest["parts"] if part["rows"]]
    generator = random.Random(seed)
    drawn = generator.choices(parts, weights=[part["rows"] for part in parts], k=rows) if parts else []
    chosen = {part["path"]: sum(other is part for other in drawn) for part in drawn}
    max_difference = _max_difference(predictor, manifest["config"]["tokens_per_batch"])
    largest, checked = 0.0, 0
    for name, count in sorted(chosen.items()):
        table = _read_table(store, name)
        rows_of_part = sorted(generator.sample(range(len(table)), min(count, len(table))))
        texts = _read_texts(store, units[name], manifest, rows_of_part)
        for row, text in zip(rows_of_part, texts, strict=True):
            scored = {key: table[manifest["config"]["prefix"] + key][row].as_py() for key in ("label", "score")}
            difference, label = _compare_row(scored, text, predictor)
            if scored["label"] != label and difference > max_difference:
                raise GateError(
                    f"{name}: row {row} is {scored['label']!r}, but a fresh prediction of its text is {label!r}."
                )
            largest = max(largest, difference)
            checked += 1
    if largest > max_difference:
        raise GateError(f"{location}: a probability differs by {largest:.2g} from a fresh prediction of its text.")
    return {"sampled": checked, "largest_difference": largest}


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


def _read_texts(store: Store, unit: Unit, manifest: dict[str, Any], rows_of_part: list[int]) -> list[str]:
    """Read the texts of some rows of a part from the input; the quarantined rows of the unit are not in the part."""
    quarantined: set[int] = set()
    name = f"_quarantine/{unit.part}"
    if name in manifest["files"]:
        for row in _read_table(store, name).to_pylist():
            quarantined.update(range(row["row"], row["row"] + row["rows"]))
    rows = [row for row in range(unit.first_row, unit.first_row + unit.num_rows) if row not in quarantined]
    wanted = [rows[row] for row in rows_of_part]
    columns, longest = manifest["config"]["text_column"], manifest["config"]["max_row_bytes"]
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


def _find_wrong_sums(store: Store, manifest: dict[str, Any]) -> Iterator[str]:
    plan = read_plan(store)
    if plan is None or plan.fingerprint != manifest["fingerprint"]:
        yield "the plan is not the one that the manifest names"
        return
    parts = {part["path"]: part for part in manifest["parts"]}
    scored = quarantined = 0
    for unit in plan.units:
        part = parts.get(unit.part)
        rows = _num_rows(store, unit.part) if part else 0
        name = f"_quarantine/{unit.part}"
        unit_quarantined = sum(_read_table(store, name)["rows"].to_pylist()) if name in manifest["files"] else 0
        expected = (part["rows"], part["rows_quarantined"]) if part else (0, unit.num_rows)
        if rows + unit_quarantined != unit.num_rows or (rows, unit_quarantined) != expected:
            yield f"{unit.part}: of {unit.num_rows} rows {rows} are in the part and {unit_quarantined} in quarantine"
        scored, quarantined = scored + rows, quarantined + unit_quarantined
    quarantined += sum(bad.rows for bad in plan.bad_files)
    sums = (plan.num_rows, scored, quarantined)
    if (manifest["rows_in"], manifest["rows_scored"], manifest["rows_quarantined"]) != sums:
        yield f"the manifest's sums are not those of the parts ({sums[0]} in, {sums[1]} scored, {sums[2]} quarantined)"


def _num_rows(store: Store, name: str) -> int:
    with store.fs.open(store.path(name), "rb") as handle:
        return int(parquet.read_metadata(handle).num_rows)


def _read_table(store: Store, name: str) -> pa.Table:
    with store.fs.open(store.path(name), "rb") as handle, parquet.ParquetFile(handle) as file:
        return file.read()
