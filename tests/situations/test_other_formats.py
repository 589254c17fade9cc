"""Files of other formats, alone and in directories: the message says what the first of them is, and what to do."""

import bz2
import gzip
import io
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import orc

from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.evaluate import list_labelled
from sentiment_ray.score.score import list_corpus
from tests.data.broken_inputs import PARQUET
from tests.data.raw_rows import GOOD, format_rows, read, texts_and_labels, write

CSV = format_rows(GOOD).encode()
TAR = b"a.csv".ljust(257, b"\0") + b"ustar".ljust(255, b"\0")


def orc_file() -> bytes:
    sink = io.BytesIO()
    orc.write_table(pa.table({"text": ["fine"], "label": ["positive"]}), sink)
    return sink.getvalue()


def zip_of(name: str, content: bytes = b"x") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


OTHERS: dict[str, tuple[bytes, str]] = {
    "part-00000-0a1b-c000": (orc_file(), "It is an ORC file. Convert it to Parquet"),
    "data.arrow": (b"\xff\xff\xff\xff\x10\0\0\0", "It is an Arrow file. Convert it to Parquet"),
    "rows.avro": (b"Obj\x01\x04", "It is an Avro file. Convert it to Parquet"),
    "all.zip": (zip_of("a.csv", CSV), "It is a ZIP archive. Unpack it"),
    "sheet.ods": (zip_of("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), "workbook of LibreOffice"),
    "sheet.numbers": (zip_of("Index/Document.iwa"), "workbook of LibreOffice or Numbers. Save its sheet as CSV"),
    "all.tgz": (gzip.compress(TAR), "It is a tar archive. Unpack it"),
    "all.rar": (b"Rar!\x1a\x07\x01\0", "It is a RAR archive. Unpack it"),
    "rows.h5": (b"\x89HDF\r\n\x1a\n", "It is an HDF5 file. Convert it to Parquet"),
    "rows.npy": (b"\x93NUMPY\x01\0", "It is an array of NumPy. Convert it to Parquet"),
    "rows.duckdb": (b"\x11" * 8 + b"DUCK\x40\0\0\0", "It is a DuckDB database. Export its table as Parquet"),
    "a.parquet.gz": (gzip.compress(PARQUET), "It is a Parquet file within gzip. Unpack it: gunzip"),
    "export.xls": (b"<table><tr><td>text</td></tr></table>", "or save the table as CSV"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_stage_reads_is_named_by_its_content(tmp_path: Path, name: str) -> None:
    content, words = OTHERS[name]
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / name, content)
    readers: tuple[Callable[[Path], object], ...] = (
        read,
        lambda location: list_corpus(str(location), str(tmp_path / "out")),
        lambda location: list_labelled(str(location), tmp_path / "out", {}),
    )
    for number, reader in enumerate(readers):
        with pytest.raises(DataError) as alone:
            reader(path)
        with pytest.raises(DataError) as in_directory:
            reader(path.parent)
        if number or name != "a.parquet.gz":  # prepare_reviews unpacks it by its ending
            assert words in str(alone.value)
        assert f"only {name}. " in str(in_directory.value)
        assert words in str(in_directory.value)


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("b.txt", CSV, "Name the files themselves, as in '{root}/*.txt', and pass --format."),
        ("deep/b.txt", CSV, "Name the files themselves, as in '{root}/**/*.txt', and pass --format."),
        ("b.json", b'[{"text": "fine", "label": "positive"}]', "as in '{root}/*.json', and pass --format jsonl."),
        ("b.dat.gz", gzip.compress(CSV), "as in '{root}/*.gz', and pass --format."),
        ("b.csv.1", CSV, "as in '{root}/*.1', and pass --format."),
    ],
)
def test_a_directory_of_text_files_without_a_known_ending_says_how_they_are_read(
    tmp_path: Path, name: str, content: bytes, remedy: str
) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    write(path, content)
    with pytest.raises(DataError) as refused:
        read(tmp_path / "in")
    assert remedy.format(root=tmp_path / "in") in str(refused.value)
    file_format = "jsonl" if name.endswith("json") else "csv"
    pattern = str(refused.value).partition("as in '")[2].partition("'")[0]
    assert read(pattern, format=file_format), "the remedy reads them"


def test_the_command_for_a_file_of_fasttext_makes_one_that_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "train.txt", "__label__positive good, tea\n__label__negative  'bad' cake\n")
    with pytest.raises(DataError, match="It is a file of fastText") as refused:
        read(path)
    command = str(refused.value).partition("table: ")[2].rstrip(".").removesuffix("NEW.tsv").replace("FILE", str(path))
    subprocess.run(["sh", "-c", f"{command} {tmp_path}/new.tsv"], check=True)
    assert texts_and_labels(read(tmp_path / "new.tsv")) == [("good, tea", "positive"), ("'bad' cake", "negative")]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.tsv"])
def test_parquet_under_another_name_is_told_its_ending(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, PARQUET)
    for list_rows in (lambda: list_corpus(str(path), "out"), lambda: list_labelled(str(path), tmp_path / "out", {})):
        with pytest.raises(DataError, match="It is a Parquet file. End its name in .parquet"):
            list_rows()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv.gz", gzip.compress(gzip.compress(CSV))), ("a.csv.bz2", bz2.compress(gzip.compress(CSV)))],
)
def test_a_file_that_is_compressed_twice_is_not_told_to_change_its_ending(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(DataError, match=f"{name} is compressed twice. Unpack it once"):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("ending", ["snappy", "br", "LZO", "Z"])
def test_compression_without_a_mark_is_named_by_its_ending(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.csv.{ending}", os.urandom(99))
    with pytest.raises(DataError, match="Its ending says that it is compressed, in a way that is not read. Unpack it"):
        read(path)


@pytest.mark.parametrize("directory", ["neg", "train/Positive", "negativo"])
def test_directories_that_seem_to_be_the_labels_are_named(tmp_path: Path, directory: str) -> None:
    path = tmp_path / "in" / directory / "a.csv"
    path.parent.mkdir(parents=True)
    write(path, "text\nfine\n")
    label = path.parent.name
    with pytest.raises(DataError, match=f"directories such as '{label}' name the labels.*rename it to 'label={label}'"):
        read(tmp_path / "in")
    path.parent.rename(path.parent.with_name(f"label={label}"))
    assert [row["label"] for row in read(tmp_path / "in")] == [label]
