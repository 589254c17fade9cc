"""Proves a finished output: every byte against the manifest, every sum against the plan; scores only a sample."""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from tqdm import tqdm

from sentiment_ray.errors import DataError, GateError
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.score.commit import MANIFEST_NAME, SUCCESS_NAME
from sentiment_ray.score.lock import is_lock
from sentiment_ray.score.plan import read_plan, unit_from
from sentiment_ray.score.reading import open_parquet, read_windows, texts_of
from sentiment_ray.storage import Store, absolute, local_copy, open_store

MAX_DIFFERENCE = 1e-3
"""Largest difference of a probability that batches of other texts explain in fp32."""


def verify_scores(location: str) -> dict[str, Any]:
    """Re-read an output and prove its manifest; DataError names the first defect and counts the others."""
    store = open_store(absolute(location))
    problems = list(find_problems(store))
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(f"{location}: {problems[0]}{more}. Restore the output, or score again with --restart.")
    manifest = json.loads(store.read(MANIFEST_NAME))
    counts = {key: manifest[key] for key in ("rows_in", "rows_scored", "rows_quarantined")}
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    return {"scores": location, "verified": True, "files": len(manifest["files"]), "bytes": size, **counts}


def find_problems(store: Store) -> Iterator[str]:
    """Yield in words whatever does not match: files missing, added or changed, rows that do not add up."""
    found = store.list()
    for name in (MANIFEST_NAME, SUCCESS_NAME):
        if name not in found:
            yield f"{name} is missing: the run that wrote this has not ended"
            return
    data = store.read(MANIFEST_NAME)
    if store.read(SUCCESS_NAME) != (hashlib.sha256(data).hexdigest() + "\n").encode():
        yield f"{MANIFEST_NAME} is not the one that {SUCCESS_NAME} names"
        return
    manifest = json.loads(data)
    files = manifest["files"]
    known = {*files, MANIFEST_NAME, SUCCESS_NAME}
    # A run that dies right after its last step leaves its lock behind; nothing reads it but the next run.
    extra = [name for name in found if name not in known and not is_lock(name)]
    yield from (f"{name} is not in the manifest" for name in extra)
    missing = {name for name in files if name not in found}
    yield from (f"{name} is missing" for name in sorted(missing))
    changed = set()
    for name in tqdm([name for name in files if name not in missing], desc="verifying", disable=None, leave=False):
        entry = files[name]
        if found[name].bytes != entry["bytes"] or store.sha256(name) != entry["sha256"]:
            changed.add(name)
            yield f"{name} is not the file that was written"
    if not missing and not changed:
        yield from _wrong_sums(store, manifest)


def compare_sample(location: str, bundle: str, *, rows: int, seed: int = 0) -> dict[str, Any]:
    """Score `rows` random rows of an output again, each alone, and hold them against what stands there.

    The text is read from the input. GateError when a label differs, or a probability by more than MAX_DIFFERENCE.
    """
    store = open_store(absolute(location))
    manifest = json.loads(store.read(MANIFEST_NAME))
    with local_copy(absolute(bundle), "bundle") as directory:
        predictor = Predictor.load(directory, engine=manifest["engine"], variant=manifest["variant"])
    if predictor.manifest.bundle_id != manifest["bundle_id"]:
        raise DataError(
            f"{bundle} is bundle {predictor.manifest.bundle_id}, the scores are of {manifest['bundle_id']}."
        )
    plan = json.loads(store.read("_plan/plan.json"))
    units = {unit["part"]: unit_from(unit) for unit in plan["units"]}
    parts = [part for part in manifest["parts"] if part["rows"]]
    generator = random.Random(seed)
    drawn = generator.choices(parts, weights=[part["rows"] for part in parts], k=rows) if parts else []
    chosen = {part["path"]: sum(other is part for other in drawn) for part in drawn}
    largest, checked = 0.0, 0
    for name, count in sorted(chosen.items()):
        table = _read_table(store, name)
        places = generator.sample(range(len(table)), min(count, len(table)))
        texts = _texts_of(store, units[name], manifest, places)
        for place, text in zip(sorted(places), texts, strict=True):
            largest = max(largest, _difference(table, place, text, predictor, manifest["config"]["prefix"], name))
            checked += 1
    if largest > MAX_DIFFERENCE:
        raise GateError(f"{location}: a probability differs by {largest:.2g} from a fresh prediction of its text.")
    return {"sampled": checked, "largest_difference": largest}


def _difference(table: pa.Table, place: int, text: str, predictor: Predictor, prefix: str, name: str) -> float:
    answer = predictor.predict([text])[0]
    row = {key: table[prefix + key][place].as_py() for key in ("label", "score")}
    difference = abs(row["score"] - answer.probabilities[row["label"]])
    if row["label"] != answer.label and difference > MAX_DIFFERENCE:
        raise GateError(
            f"{name}: row {place} is {row['label']!r}, a fresh prediction of its text says {answer.label!r}."
        )
    return difference


def _texts_of(store: Store, unit: Any, manifest: dict[str, Any], places: list[int]) -> list[str]:
    """Return the input's texts of some rows of a part, in order; quarantined rows are no rows of the part."""
    set_aside: set[int] = set()
    name = f"_quarantine/{unit.part}"
    if name in manifest["files"]:
        for row in _read_table(store, name).to_pylist():
            set_aside.update(range(row["row"], row["row"] + row["rows"]))
    rows = [row for row in range(unit.first_row, unit.first_row + unit.num_rows) if row not in set_aside]
    wanted = [rows[place] for place in sorted(places)]
    columns, longest = manifest["config"]["text_column"], manifest["config"]["max_row_bytes"]
    texts: dict[int, str | None] = {}
    with open_parquet(unit) as file:
        schema = pa.schema([file.schema.field(name) for name in columns])
        for window in read_windows(file, schema, unit, max_row_bytes=longest):
            if window.table is not None:
                found, _ = texts_of(window, columns)
                inside = [row for row in wanted if 0 <= row - window.first_row < window.num_rows]
                texts |= {row: found[row - window.first_row] for row in inside}
    return [texts[row] or "" for row in wanted]


def _wrong_sums(store: Store, manifest: dict[str, Any]) -> Iterator[str]:
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
        aside = sum(_read_table(store, name)["rows"].to_pylist()) if name in manifest["files"] else 0
        if rows + aside != unit.num_rows or (part and (part["rows"], part["rows_quarantined"]) != (rows, aside)):
            yield f"{unit.part}: {unit.num_rows} rows were read, {rows} are there and {aside} in quarantine"
        scored, quarantined = scored + rows, quarantined + aside
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
