"""Keys and flags of text files, and what is said of files that are not what their name says."""

import bz2
import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.source_config import Source
from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.evaluate import list_labelled
from sentiment_ray.score.score import list_corpus
from tests.data.broken_inputs import PARQUET
from tests.data.raw_rows import GOOD, format_rows, read, write
from tests.situations.run_job import run_job


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"text,label\nfine,positive\n")
    return file.getvalue()


def arrow_file() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": ["fine"]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of("[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook. Save its sheet as CSV UTF-8"),
        (zip_of("a.csv"), "is a ZIP archive. Unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is a workbook of an old Excel"),
        (gzip.compress(b"text,label\n"), "is compressed with gzip. End its name in .gz"),
        (bz2.compress(b"text,label\n"), "is compressed with bzip2. End its name in .bz2"),
        (b"\xfd7zXZ\0" + bytes(9), "is compressed with xz. Unpack it: xz -d"),
        (pa.compress(b"text,label\n", "zstd", asbytes=True), "is compressed with zstd. End its name in .zst"),
        (PARQUET, "is a Parquet file. End its name in .parquet"),
        (arrow_file(), "is an Arrow file. Convert it to Parquet"),
        (b"\x80\x04\x95" + bytes(9), "is a Python pickle, which can run code"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "is a web page or XML"),
        (b"<html><body>404</body></html>", "is a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS.*git lfs pull"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_file_of_another_format_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("content", ['{"text": "fine", "label": "positive"}\n', '[\n {"text": "fine"}\n]'])
def test_json_under_the_name_of_a_csv_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="is JSON. Pass --format jsonl"):
        read(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"separator": "||"}, "write one character"),
        ({"separator": ""}, "write one character"),
        ({"separator": '"'}, "write one character"),
        ({"quote": "double"}, "write one character, or none"),
        ({"escape": "x"}, "write one character, or none"),
        ({"encoding": "ansi"}, "not an encoding that can be read"),
        ({"encoding": "rot13"}, "not an encoding that can be read"),
        ({"separator": ";", "format": "jsonl"}, "separator is for the formats csv and tsv"),
        ({"encoding": "cp1252", "format": "parquet"}, "encoding is for text files"),
        ({"separator": "|", "quote": "|"}, "and so is quote or escape"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Source(path="a.csv", **keys)


def test_keys_that_are_not_set_leave_the_fingerprint_as_it_was() -> None:
    sources = [{"path": "a.csv"}, {"path": "b.csv", "separator": "\\t", "encoding": "Windows-1252"}]
    config = PrepareConfig.model_validate({"output": "out", "sources": sources})
    first, second = config.model_dump(mode="json")["sources"]
    added = {"encoding", "separator", "quote", "escape"}
    assert not added & first.keys()
    assert {key: second[key] for key in added & second.keys()} == {"separator": "\t", "encoding": "cp1252"}


@pytest.mark.usefixtures("ray_cluster")
def test_flags_describe_how_a_file_is_written(tmp_path: Path) -> None:
    labels = ("negative", "neutral", "positive")
    lines = [f"{number};'Gerät {number}; schön';{labels[number % 3]}\r\n" for number in range(90)]
    path = write(tmp_path / "a.csv", ("id;text;label\r\n" + "".join(lines)).encode("cp1252"))
    arguments = ["--input", str(path), "--output", str(tmp_path / "out"), "--quote", "'", "--no-near-duplicates"]
    refused = run_job("prepare_reviews", *arguments)
    assert refused.exit_code == 2
    assert "invalid UTF-8 (probably cp1252: set encoding)" in refused.error_lines[0]
    actual = run_job("prepare_reviews", *arguments, "--separator", ";", "--escape", "none", "--encoding", "cp1252")
    assert (actual.exit_code, actual.error_lines) == (0, [])
    assert (actual.result["counts"]["rows_in"], actual.result["counts"]["rejected"]) == (90, 0)


@pytest.mark.parametrize("name", ["a.json", "a.txt", "a.dat.gz", "a.csv.xz"])
def test_a_file_without_a_known_ending_is_recognised(tmp_path: Path, name: str) -> None:
    content = {
        "a.json": b'[{"text": "fine"}]',
        "a.dat.gz": gzip.compress(b'{"text": "fine"}'),
        "a.csv.xz": b"\xfd7zXZ\0" + bytes(9),
        "a.txt": b"text,label\n",
    }[name]
    advice = {"a.csv.xz": "It is compressed with xz. Unpack it: xz -d.", "a.txt": "Pass --format, or set format"}
    with pytest.raises(DataError, match="its ending names no format") as caught:
        read(write(tmp_path / name, content))
    assert advice.get(name, "It is JSON. Pass --format jsonl.") in str(caught.value)


def test_a_parquet_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a readable Parquet file .*It is a ZIP archive. Unpack it."):
        read(write(tmp_path / "a.parquet", zip_of("a.csv")))


@pytest.mark.parametrize("name", ["a.csv", "it's.v2.tsv", "a.jsonl", "in"])
def test_scoring_says_that_it_reads_parquet_and_how_to_write_it(tmp_path: Path, name: str) -> None:
    if name == "in":
        (tmp_path / "in").mkdir()
        path = write(tmp_path / "in" / "a.csv", format_rows(GOOD)).parent
    elif name.endswith("jsonl"):
        path = write(tmp_path / name, "".join(json.dumps(dict(zip("tl", row, strict=True))) + "\n" for row in GOOD))
    else:
        path = write(tmp_path / name, format_rows(GOOD, delimiter="\t" if name.endswith("tsv") else ","))
    for list_rows in (lambda: list_corpus(str(path), "out"), lambda: list_labelled(str(path), tmp_path / "out", {})):
        with pytest.raises(DataError, match="nly Parquet is read here. Write it as Parquet") as caught:
            list_rows()
        command = re.search(r'duckdb -c "(.*)"', str(caught.value))
        assert command is not None
        duckdb.sql(command[1])
        (written,) = tmp_path.rglob("*.parquet")
        assert len(pq.read_table(written)) == 3
        written.unlink()


def test_a_file_without_an_ending_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a Parquet file, and only Parquet is read here"):
        list_corpus(str(write(tmp_path / "reviews", "a\nb\nand more of it\n")), "out")
