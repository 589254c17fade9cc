"""Broken rows and files with one defect each: each gives its named reason, and every row is accounted for."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.counts import add_reports, check_rejected
from sentiment_ray.data.job import PrepareJob
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.data.shuffle import collect_rows
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.data.split import OUTCOMES
from sentiment_ray.data.split_tasks import write_splits
from sentiment_ray.errors import DataError
from sentiment_ray.manifest import read_json
from tests.data.broken_inputs import BROKEN_FILES, BROKEN_ROWS, GOOD, chats, objects, separated, zstandard

SNIPPETS = [
    b'"',
    b"\n",
    b"\r",
    b"\0",
    b",",
    b"\t",
    b"{",
    b"}",
    b"null",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"NaN",
    b'""',
]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """All broken rows, prepared in one run with one source for each defect."""
    directory = tmp_path_factory.mktemp("broken")
    sources = [case.write(directory / "in" / name) for name, case in BROKEN_ROWS.items()]
    output = directory / "out"
    prepare_reviews(PrepareConfig.model_validate({"output": str(output), "sources": sources, "max_rejected": 1}))
    return output


def test_there_are_enough_defects() -> None:
    assert len(BROKEN_ROWS) >= 40
    assert len(BROKEN_FILES) >= 30


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_a_broken_row_is_rejected_with_its_reason_and_its_neighbours_are_kept(broken: Path, name: str) -> None:
    case = BROKEN_ROWS[name]
    counts = read_json(broken / "prepared.json")["by_source"][name]
    assert counts["rejected"] == len(case.reasons)
    assert counts["rows_in"] == case.good + len(case.reasons)
    assert sum(counts[split] for split in SPLITS) == case.good
    rejected = pq.read_table(broken / "rejected", filters=[("source", "==", name)]).to_pylist()
    assert {row["row"]: row["reason"] for row in rejected} == case.reasons
    assert all(Path(row["file"]).name == Path(case.file).name for row in rejected)


def test_every_row_is_accounted_for(broken: Path) -> None:
    manifest = read_json(broken / "prepared.json")
    counts = manifest["counts"]
    outcomes = (*SPLITS, "duplicates", "conflicting", "rejected")
    assert counts["rows_in"] == sum(counts[outcome] for outcome in outcomes)
    assert counts["rows_in"] == sum(case.good + len(case.reasons) for case in BROKEN_ROWS.values())
    assert counts["rejected"] == sum(manifest["rejected_reasons"].values())
    for split in SPLITS:
        assert sum(pq.read_metadata(part).num_rows for part in (broken / split).iterdir()) == counts[split]


def read_here(path: Path, directory: Path, **keys: Any) -> dict[str, int]:
    """Read, check and split a source in this process, with the tasks of a preparation, and return the counts."""
    described = {"output": str(directory / "out"), "sources": [{"path": str(path), **keys}], "max_rejected": 1}
    config = resolve_paths(PrepareConfig.model_validate(described))
    (directory / "out").mkdir()
    job = PrepareJob(config, directory / "out", num_buckets=1)
    collected = collect_rows(job, 0, make_read_tasks(config, list_files(config)))
    check_rejected(config, add_reports(config, [collected], []))
    split = [write_splits(job, 0, collected.bucket_files)] if collected.bucket_files else []
    return add_reports(config, [collected], split).totals


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_broken_file_is_named_in_one_error(tmp_path: Path, name: str) -> None:
    file, content, keys, message = BROKEN_FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_here(tmp_path / file, tmp_path, **keys)
    assert file in str(caught.value)


@pytest.mark.parametrize("file", ["a.csv", "a.tsv", "a.jsonl", "a.jsonl.zst", "chat.jsonl"])
def test_random_damage_gives_an_error_with_the_file_name_or_exact_counts(tmp_path: Path, file: str) -> None:
    chance = random.Random(file)
    makers = {"a.csv": separated(b'"a ""b""",neutral'), "a.tsv": separated(separator="\t"), "chat.jsonl": chats()}
    content = makers.get(file, objects())("text")
    content = zstandard(content) if file.endswith(".zst") else content
    for number in range(40):
        broken = bytearray(content)
        for _ in range(chance.randint(1, 5)):
            index = chance.randrange(len(broken) + 1)
            broken[index : index + chance.randint(0, 9)] = chance.choice([*SNIPPETS, bytes([chance.randrange(256)])])
        path = tmp_path / str(number) / file
        path.parent.mkdir()
        path.write_bytes(broken)
        try:
            counts = read_here(path, path.parent, format="chat" if file == "chat.jsonl" else "auto")
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert counts["rows_in"] == sum(counts[name] for name in (*OUTCOMES, "rejected")) > 0


def test_a_damaged_file_among_good_ones_is_named(tmp_path: Path) -> None:
    for name in ("a.parquet", "c.parquet"):
        (tmp_path / "in").mkdir(exist_ok=True)
        pq.write_table(GOOD, tmp_path / "in" / name)
    (tmp_path / "in" / "b.parquet").write_bytes(BROKEN_FILES["parquet-cut-off"][1])
    with pytest.raises(DataError, match=r"b\.parquet is not a readable Parquet file"):
        read_here(tmp_path / "in", tmp_path)


def test_a_link_to_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(GOOD, tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "b.parquet").symlink_to(tmp_path / "gone.parquet")
    for index, path in enumerate((tmp_path / "in", tmp_path / "in" / "b.parquet")):
        (tmp_path / str(index)).mkdir()
        with pytest.raises(DataError, match=r"b\.parquet is a link to a missing file"):
            read_here(path, tmp_path / str(index))


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reviews.parquet").mkdir()
    with pytest.raises(DataError, match=r"reviews\.parquet does not hold a file that ends in \.parquet"):
        read_here(tmp_path / "reviews.parquet", tmp_path)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv does not exist"):
        read_here(tmp_path / "gone.csv", tmp_path)
