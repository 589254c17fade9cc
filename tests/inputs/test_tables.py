"""A table is read as the table, deleted rows gone, or refused by name with what to do; never as its files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from layouts import STAGES, list_names, make_relative, write_rows
from pyarrow import parquet

from sentiment_ray.errors import DataError, MissingExtraError
from sentiment_ray.score.score import list_corpus


def write_delta(path: Path, *, partition_by: list[str] | None = None) -> list[int]:
    """Write a table of which rows were deleted and rewritten; return the ids that it holds."""
    from deltalake import DeltaTable, write_deltalake

    # deltalake cannot write below a name with brackets, so the table is moved there.
    own = path.parent / "being-written"
    for start in (0, 30):
        rows = range(start, start + 30)
        table = {"id": list(rows), "text": [f"row {row}" for row in rows], "label": ["positive"] * 30,
                 "market": ["eu" if row % 2 else "a b/ü" for row in rows]}  # fmt: skip
        write_deltalake(str(own), pa.table(table), mode="append", partition_by=partition_by)
    DeltaTable(str(own)).delete("id >= 10 and id < 50")
    own.rename(path)
    return [*range(10), *range(50, 60)]


def read_ids(paths: list[str]) -> list[int]:
    tables = [parquet.ParquetFile(path).read(columns=["id"]) for path in paths]
    return sorted(row for table in tables for row in table["id"].to_pylist())


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain table, a partitioned one below a name with brackets, and a file beside them."""
    root = tmp_path_factory.mktemp("tables")
    assert write_delta(root / "plain") == write_delta(root / "by [market] 100%", partition_by=["market"])
    parquet.write_table(pa.table({"id": [99], "text": ["beside"], "label": ["positive"]}), root / "beside.parquet")
    return root


LIVE = [*range(10), *range(50, 60)]


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_rows_of_the_current_version_are_read(
    tables: Path, tmp_path: Path, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(location: str) -> list[int]:
        return read_ids(list_names(stage, f"{tables}/{location}", str(tmp_path / "out")))

    for location in ("plain", "plain/*.parquet", "plain/**", "by [market] 100%", "by [market] 100%/*/*.parquet"):
        assert read(location) == LIVE, location
    line = capsys.readouterr().err.splitlines()[0]
    assert line.endswith("is a Delta table. Files of its current version that are read: 1; files of earlier versions "
                         "that are not: 2.")  # fmt: skip
    assert read("by [market] 100%/market=eu") == [row for row in LIVE if row % 2], "a directory inside the table"
    assert read(".") == sorted([*LIVE, *LIVE, 99]), "two tables and a file beside them"
    (tmp_path / "link").symlink_to(tables / "plain")
    assert read_ids(list_names(stage, str(tmp_path / "link"), str(tmp_path / "out"))) == LIVE


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_of_an_earlier_version_is_refused_and_one_of_the_current_version_is_read(
    tables: Path, tmp_path: Path, stage: str
) -> None:
    current = {file.path for file in list_corpus(str(tables / "plain"), str(tmp_path / "out")).files}
    for path in map(str, (tables / "plain").glob("*.parquet")):
        if path in current:
            assert list_names(stage, path, str(tmp_path / "out")) == [path]
        else:
            with pytest.raises(DataError, match="the table no longer has the files that are there"):
                list_names(stage, path, str(tmp_path / "out"))


def test_what_a_table_no_longer_has_is_counted(tables: Path, tmp_path: Path) -> None:
    assert list_corpus(str(tables / "plain"), str(tmp_path / "out")).describe_left_out() == {
        "markers": 1,
        "removed_from_table": 2,
    }


def test_a_table_in_a_bucket_is_read_as_on_a_disk(tables: Path, tmp_path: Path, s3: str) -> None:
    from sentiment_ray.store_location import open_location

    fs, bucket = open_location(s3)
    files = [path for path in (tables / "plain").rglob("*") if path.is_file()]
    fs.pipe({f"{bucket}/lake/plain/{path.relative_to(tables / 'plain')}": path.read_bytes() for path in files})
    on_disk = list_corpus(str(tables / "plain"), str(tmp_path / "out"))
    for stage in ("score", "evaluate"):
        for location in ("lake/plain", "lake", "lake/plain/*.parquet", "lake/p*/*.parquet"):
            paths = list_names(stage, f"{s3}/{location}", str(tmp_path / "out"))
            assert make_relative(paths, f"{s3}/lake/plain") == [file.name for file in on_disk.files]


def _change_log(table: Path, **changes: dict[str, Any]) -> None:
    """Change the actions in the first commit of a table."""
    commit = table / "_delta_log/00000000000000000000.json"
    actions = [json.loads(line) for line in commit.read_text().splitlines()]
    for action in actions:
        for name, values in changes.items():
            if name in action:
                action[name] |= values
    commit.write_text("".join(json.dumps(action) + "\n" for action in actions))


def _map_columns(table: Path) -> None:
    _change_log(table, metaData={"configuration": {"delta.columnMapping.mode": "name"}},
                protocol={"minReaderVersion": 2, "minWriterVersion": 5})  # fmt: skip


def _use_unknown_feature(table: Path) -> None:
    _change_log(table, protocol={"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["someDay"],
                                 "writerFeatures": ["someDay"]})  # fmt: skip


def _use_deletion_vectors(table: Path) -> None:
    vector = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40,
              "cardinality": 6}  # fmt: skip
    features = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
                "writerFeatures": ["deletionVectors"]}  # fmt: skip
    _change_log(table, protocol=features, add={"deletionVector": vector})
    for commit in sorted((table / "_delta_log").glob("*.json"))[1:]:
        commit.unlink()


def _break_log(table: Path) -> None:
    (table / "_delta_log/00000000000000000000.json").write_text("{half a")


def _remove_live_files(table: Path) -> None:
    for path in table.glob("*.parquet"):
        path.unlink()
    parquet.write_table(pa.table({"text": ["x"]}), table / "other.parquet")


@pytest.mark.parametrize(
    "damage", [_map_columns, _use_unknown_feature, _use_deletion_vectors, _break_log, _remove_live_files]
)
def test_a_table_whose_files_do_not_give_its_rows_is_refused(tables: Path, tmp_path: Path, damage: Any) -> None:
    shutil.copytree(tables / "plain", tmp_path / "in/table")
    damage(tmp_path / "in/table")
    for stage in STAGES:
        with pytest.raises(DataError, match="Delta table") as raised:
            list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))
        assert str(tmp_path / "in/table") in str(raised.value)
        assert "\n" not in str(raised.value)


def test_without_deltalake_the_extra_is_named(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deltalake" else real(name))
    for stage in STAGES:
        with pytest.raises(MissingExtraError, match=r"plain is a Delta table\. .*pip install 'sentiment-ray\[delta\]'"):
            list_names(stage, str(tables / "plain"), str(tmp_path / "out"))


def _write_iceberg(path: Path) -> None:
    write_rows(path / "data/market=eu/00000-0-a.parquet", ["row"])
    (path / "metadata").mkdir()
    (path / "metadata/00002-2b59a2a4-0c3c-4c3e-a3b0-1b1e3e1d7a54.metadata.json").write_text("{}")


def _write_hadoop_iceberg(path: Path) -> None:
    write_rows(path / "data/00000-0-a.parquet", ["row"])
    (path / "metadata").mkdir()
    (path / "metadata/v3.gz.metadata.json").write_text("{}")


def _write_hudi(path: Path) -> None:
    write_rows(path / "2024/a.parquet", ["row"])
    (path / ".hoodie").mkdir()


@pytest.mark.parametrize("write", [_write_iceberg, _write_hadoop_iceberg, _write_hudi])
def test_tables_of_other_kinds_are_refused_wherever_they_stand(tmp_path: Path, s3: str, write: Any) -> None:
    from sentiment_ray.store_location import open_location

    root = tmp_path / "lake [1]"
    write(root / "reviews")
    write_rows(root / "beside/b.parquet", ["row"])
    (file,) = (root / "reviews").rglob("*.parquet")
    fs, bucket = open_location(f"{s3}/{write.__name__}")
    fs.pipe(
        {
            f"{bucket}/{path.relative_to(root)}": path.read_bytes() or b"x"
            for path in root.rglob("*.*")
            if path.is_file()
        }
    )
    fs.pipe({f"{bucket}/reviews/.hoodie/x": b"x"} if write is _write_hudi else {})
    inner = file.relative_to(root)
    for place in (str(root), f"{s3}/{write.__name__}"):
        for stage in STAGES if place == str(root) else ("score", "evaluate"):
            for location in (".", "reviews", inner, inner.parent, inner.parent / "*", f"r*/{inner.parts[1]}/**"):
                path = place if str(location) == "." else f"{place}/{location}"
                with pytest.raises(DataError, match=r"is a table of (Iceberg|Hudi).* Write its rows out as Parquet"):
                    list_names(stage, path, str(tmp_path / "out"))
    assert len(list_names("score", f"{root}/beside", str(tmp_path / "out"))) == 1


def test_a_directory_that_is_called_metadata_makes_no_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "in/data/a.parquet", ["row"])
    (tmp_path / "in/metadata").mkdir()
    (tmp_path / "in/metadata/croissant.metadata.json").write_text("{}")
    for location in ("in", "in/data"):
        assert len(list_names("score", str(tmp_path / location), str(tmp_path / "out"))) == 1
