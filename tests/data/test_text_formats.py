"""Text files as programs write them: separators, quotes, escapes, encodings, line ends, and files of other formats."""

import bz2
import csv
import gzip
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.readers.encodings import guess_encoding
from sentiment_ray.data.source_config import Source
from sentiment_ray.errors import DataError
from sentiment_ray.evaluate.evaluate import list_labelled
from sentiment_ray.score.score import list_corpus
from tests.data.broken_inputs import PARQUET
from tests.data.raw_rows import read, reasons, texts_and_labels
from tests.situations.run_job import run_job

GOOD = [("good", "positive"), ("bad", "negative"), ("so so", "neutral")]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def format_rows(rows: list[tuple[str, str]], **options: Any) -> str:
    file = io.StringIO()
    csv.writer(file, **options).writerows([("text", "label"), *rows])
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "tabs.csv"])
def test_a_quote_between_tabs_is_a_letter(tmp_path: Path, name: str) -> None:
    texts = ['"cut off', "fine", 'the end"', '"wow" a', '5" screen', '""', '"', "a\rb", "x, y", '"whole"']
    content = "text\tlabel\n" + "".join(f"{text}\tpositive\n" for text in texts)
    path = write(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    rows = read(path)
    assert [row["text"] for row in rows] == texts
    assert [row["row"] for row in rows] == list(range(2, 2 + len(texts)))
    assert {row["reason"] for row in rows} == {None}


@pytest.mark.parametrize(
    "rows",
    [
        [("two\nlines", "positive"), *GOOD],
        [("a\ttab", "positive"), *GOOD],
        [('she said "no"', "positive"), *GOOD],
    ],
    ids=["line break", "tab", "doubled quote"],
)
def test_a_tsv_whose_cells_are_in_quotes_is_read_with_the_key_and_otherwise_refused(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    path = write(tmp_path / "a.tsv", format_rows(rows, delimiter="\t"))
    with pytest.raises(
        DataError, match="""its cells seem to be in quotes. Pass --quote '"' if they are, or --quote none"""
    ):
        read(path)
    assert texts_and_labels(read(path, quote='"')) == rows
    assert len(read(path, quote="none")) >= len(rows)


def test_a_tsv_with_all_cells_in_quotes_is_refused_even_if_its_column_names_are_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", format_rows(GOOD, delimiter="\t", quoting=csv.QUOTE_ALL))
    with pytest.raises(DataError, match="its cells seem to be in quotes"):
        read(path)
    assert texts_and_labels(read(path, quote='"')) == GOOD


@pytest.mark.parametrize(
    "line",
    ['"open', 'a "b"', '"a" b', '"a\tb\tpositive'],
    ids=["no end", "inside", "a word", "no end and a tab"],
)
def test_one_stray_quote_shows_that_a_tsv_has_no_quoted_cells(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.tsv", f'text\tlabel\n{line}\tpositive\n"she said ""no"""\tnegative\n')
    assert len(read(path)) == 2


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("text;label", "fine, well;positive"),
        ("label|text", "positive|fine, well"),
        ("text\tlabel", "fine, well\tpositive"),
        ('"id";"text";"label"', '1,5;"fine, well";positive'),
        ("sep=;\r\ntext;label", "fine, well;positive"),
        ("SEP=|\ntext|label", "fine, well|positive"),
        (" text ; label", "fine, well;positive"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_the_header_shows_the_separator(tmp_path: Path, ending: str, header: str, row: str) -> None:
    path = write(tmp_path / f"a.{ending}", f"\ufeff{header}\r\n{row}\r\n")
    assert texts_and_labels(read(path)) == [("fine, well", "positive")]
    assert reasons(read(path)) == {3 if "=" in header else 2: None}


def test_semicolons_go_with_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text;label\nfine, 4,5;4,5\nso so;-3,25\nbad;1\n")
    labels = [row["label"] for row in read(path, cut_points=[2, 4])]
    assert labels == ["4.5", "-3.25", "1"]
    assert [row["label"] for row in read(path)] == ["4,5", "-3,25", "1"]
    assert read(path)[0]["text"] == "fine, 4,5"


def test_a_separator_is_not_taken_while_the_usual_one_gives_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label,a;b;text;label\nfine;well,positive,c\n")
    assert texts_and_labels(read(path)) == [("fine;well", "positive")]


def test_a_header_with_another_separator_is_named_by_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id;review;rating\n1;fine;5\n")
    with pytest.raises(DataError, match="'text' is missing \\(found: 'id', 'review', 'rating'\\)"):
        read(path)
    assert texts_and_labels(read(path, text_column=["review"], label_column="rating")) == [("fine", "5")]


@pytest.mark.parametrize(
    ("keys", "content"),
    [
        ({"separator": "^"}, "text^label\na,b^positive\n"),
        ({"separator": "\x01"}, "text\x01label\na,b\x01positive\n"),
        ({"separator": "tab"}, "text\tlabel\na,b\tpositive\n"),
        ({"quote": "'"}, "text,label\n'a,b',positive\n"),
        ({"separator": "¦", "quote": "'"}, "text¦label\n'a,b'¦positive\n"),
        ({"quote": "none", "escape": "\\"}, "text,label\na\\,b,positive\n"),
        ({"escape": "\\", "separator": ";"}, 'text;label\n"a,b";positive\n'),
        ({"escape": '"'}, 'text,label\n"a,b",positive\n'),
    ],
)
def test_keys_name_the_separator_the_quote_and_the_escape(tmp_path: Path, keys: dict[str, str], content: str) -> None:
    assert texts_and_labels(read(write(tmp_path / "a.csv", content), **keys)) == [("a,b", "positive")]


def test_without_quotes_a_csv_keeps_them_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"wow" so,positive\n"open,negative\n')
    assert texts_and_labels(read(path, quote="none")) == [('"wow" so', "positive"), ('"open', "negative")]


SPARK_TEXTS = [
    'she said "no", and left', r"C:\new, or \d", "ends with a backslash" "\\", r"two \\ slashes", r'a "quoted\" x',
    'line1\nline2, "q"', "comma, only", '"', r"\"", "\\", 'x\\\ny "z"', '5" screen', r"a\,b", "x",
]  # fmt: skip
SPARK_FILE = r"""text,label
"she said \"no\", and left",positive
"C:\\new, or \\d",positive
ends with a backslash\,positive
two \\ slashes,positive
"a \"quoted\\\" x",positive
"line1
line2, \"q\"",positive
"comma, only",positive
"\"",positive
"\\\"",positive
\,positive
"x\\
y \"z\"",positive
"5\" screen",positive
"a\\,b",positive
x,positive
"""


def test_a_csv_is_read_as_spark_wrote_it(tmp_path: Path) -> None:
    """Spark 4 wrote this file from these texts, and reads them from it."""
    path = write(tmp_path / "a.csv", SPARK_FILE)
    assert [row["text"] for row in read(path, escape="\\")] == SPARK_TEXTS
    semicolons = SPARK_FILE.replace(",positive", ";positive").replace("text,label", "text;label")
    assert [row["text"] for row in read(write(path, semicolons), escape="\\")] == SPARK_TEXTS


SPARK = 'text,label\n"she said \\"no\\", and left",negative\n"C:\\new, or \\d",neutral\n"a \\\\",positive\n'


def test_backslashes_before_quotes_are_read_with_the_key_and_otherwise_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", SPARK)
    with pytest.raises(DataError, match=r"it has backslashes before quotes, as Spark writes them. Pass --escape '\\'"):
        read(path)
    assert [row["text"] for row in read(path, escape="\\")] == ['she said "no", and left', "C:\\new, or \\d", "a \\"]
    assert reasons(read(path, escape="none"))[2] is not None


def test_a_quote_that_is_never_closed_takes_in_no_rows(tmp_path: Path) -> None:
    lines = [f"review {number},{'positive' if number % 2 else 'negative'}" for number in range(200)]
    lines[0] = f'"{lines[0]}'
    lines[9] = lines[9].replace(",", '",')
    lines[150] = f'"{lines[150]}'
    lines[151] = lines[151].replace(",", '",')
    rows = read(write(tmp_path / "a.csv", "\n".join(["text,label", *lines, ""])))
    assert len(rows) == 200
    assert {number for number, reason in reasons(rows).items() if reason} == {2, 152}
    assert reasons(rows)[2] == "not CSV: a quote has no end before the next row"
    assert not any("\n" in row["text"] for row in rows if row["text"])


@pytest.mark.parametrize(
    "text",
    [
        "Dear all,\nI like it, and so do you\nYours, me",
        "a list:\n1, good\n2, bad\n3, so so",
        "positive, negative\nneutral, positive",
        "line\n" * 500,
        "x,y\n\nx,y",
    ],
)
@pytest.mark.parametrize("names", ["text,label", "label,text"])
def test_a_text_of_many_lines_is_one_row(tmp_path: Path, text: str, names: str) -> None:
    rows = [("good", "1"), ("bad", "2"), ("so so", "3"), (text, "1"), (f"again: {text}", "2")]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names.split(","))
        writer.writeheader()
        writer.writerows({"text": text, "label": label} for text, label in rows)
    assert texts_and_labels(read(tmp_path / "a.csv")) == rows


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Das Gerät – „schön“, aber für 5 € zu groß"),
        ("latin-1", "Très déçu, la qualité a baissé"),
        ("cp1251", "Очень хороший товар, рекомендую всем"),
        ("shift_jis", "この商品は表示がとても良いです。また買います。"),
        ("gb18030", "这个产品非常好，我很喜欢，下次还会再买。"),
        ("utf-16", "fine, 很好 🙂"),
        ("utf-16-le", "fine, Ärger 🙂"),
        ("utf-16-be", "fine, Ärger 🙂"),
        ("utf-32", "fine, Ärger 🙂"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "chat.jsonl"])
def test_an_encoding_is_read_with_the_key_and_otherwise_named(
    tmp_path: Path, encoding: str, text: str, ending: str
) -> None:
    objects: list[Any] = [{"text": f"{text} {number}", "label": "positive"} for number in range(20)]
    if ending == "chat.jsonl":
        roles = [[("user", row["text"]), ("assistant", row["label"])] for row in objects]
        objects = [{"messages": [{"role": role, "content": each} for role, each in row]} for row in roles]
    content = {
        "csv": format_rows([(f"{text} {number}", "positive") for number in range(20)]),
        "tsv": "text\tlabel\r\n" + "".join(f"{text} {number}\tpositive\r\n" for number in range(20)),
        "json": json.dumps(objects, ensure_ascii=False, indent=1),
    }.get(ending, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects))
    path = write(tmp_path / f"a.{ending}", content.encode(encoding))
    keys = {"format": "jsonl"} if ending == "json" else {}
    expected = [(f"{text} {number}", "positive") for number in range(20)]
    assert texts_and_labels(read(path, encoding=encoding, **keys)) == expected
    if encoding.startswith("utf"):
        with pytest.raises(DataError, match=f"is in {encoding.upper()}. Pass --encoding {encoding}"):
            read(path, **keys)
        return
    try:
        found = {str(row["reason"]) for row in read(path, **keys)}
    except DataError as error:
        found = {str(error)}
    names = {"latin-1": "cp1252", "shift_jis": "cp932"}
    assert len(found) == 1
    assert f"probably {names.get(encoding, encoding)}: set encoding" in found.pop()


def test_the_encoding_of_a_few_rows_is_named(tmp_path: Path) -> None:
    texts = ["I don’t mind the café" if number % 30 == 0 else "a plain thing" for number in range(300)]
    content = "text,label\r\n" + "".join(f"{text} {number},neutral\r\n" for number, text in enumerate(texts))
    rows = read(write(tmp_path / "a.csv", content.encode("cp1252")))
    assert sum(row["reason"] == "invalid UTF-8 (probably cp1252: set encoding)" for row in rows) == 10
    assert len(rows) == 300


def test_an_encoding_is_guessed_from_text_alone() -> None:
    assert guess_encoding("Não gostei, é péssimo".encode("cp1252")) == "cp1252"
    assert guess_encoding("Bardzo dobry towar, polecam każdemu, świetna jakość".encode("cp1250")) == "cp1250"
    assert guess_encoding(bytes(range(256))) is None


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            "text,label\nÄrger über Öl und Übermaß: ßßß,neutral\n".encode(),
            "cp1252",
            "is in UTF-8, but encoding is 'cp1252'",
        ),
        (b"\xef\xbb\xbftext,label\nfine,neutral\n", "cp1252", "begins with the byte order mark of UTF-8"),
        ("text,label\n".encode("utf-16"), "cp1252", "is in UTF-16"),
        (b"text,label\nfine,neutral\n", "utf-16", "cannot be read to its end .*BOM"),
        ("text,label\n".encode("utf-16-le"), "utf-16", "is in UTF-16-LE. Pass --encoding utf-16-le"),
        ("text,label\nfine,neutral\n".encode("utf-16")[:-1], "utf-16", "cannot be read to its end"),
    ],
)
def test_a_key_with_the_wrong_encoding_is_refused(tmp_path: Path, content: bytes, encoding: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "a.csv", content), encoding=encoding)


@pytest.mark.parametrize(
    "content",
    [
        "text,label\r\nfine,positive\r\nbad,negative\r\n",
        "text,label\rfine,positive\rbad,negative",
        "\n\ntext,label\n\nfine,positive\n  \nbad,negative",
        "\ufefftext,label\nfine,positive\nbad,negative\n\n\n",
        "\ufeff\ufefftext,label\nfine,positive\nbad,negative\n",
        "text,label\r\r\nfine,positive\r\r\nbad,negative\r\r\n",
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_line_ends_blank_lines_and_byte_order_marks_do_not_matter(tmp_path: Path, ending: str, content: str) -> None:
    path = write(tmp_path / f"a.{ending}", content.replace(",", "\t") if ending == "tsv" else content)
    assert texts_and_labels(read(path)) == [("fine", "positive"), ("bad", "negative")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\n\n \n", "\n\ufeff"])
def test_json_lines_end_as_other_lines_do(tmp_path: Path, line_end: str) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in GOOD]
    assert texts_and_labels(read(write(tmp_path / "a.jsonl", line_end.join(lines)))) == GOOD


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("GZ", gzip.compress)])
def test_a_compressed_file_is_read(tmp_path: Path, ending: str, compress: Any) -> None:
    path = write(tmp_path / f"a.csv.{ending}", compress(format_rows(GOOD).encode()))
    assert texts_and_labels(read(path, format="csv")) == GOOD


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
        (PARQUET, "is a Parquet file. Pass --format parquet"),
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


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson.gz", "bom.jsonl"])
def test_a_json_array_is_read(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    objects = [{"text": text, "label": label, "n": [1, {"x": None}]} for text, label in GOOD]
    content = ("\ufeff " if name.startswith("bom") else "") + json.dumps(objects, **options)
    path = write(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    rows = read(path, format="jsonl")
    assert texts_and_labels(rows) == GOOD
    assert [row["row"] for row in rows] == [1, 2, 3]


def test_an_array_is_read_in_bounded_memory_across_all_ends_of_its_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects: list[Any] = [{"text": "é" * number, "label": "x"} for number in range(60)]
    objects += [None, 12345, [1], "text", 1.5e300]
    path = write(tmp_path / "a.jsonl", json.dumps(objects, ensure_ascii=False, indent=1))
    expected = read(path)
    for size in (1, 2, 7, 64):
        monkeypatch.setattr("sentiment_ray.data.readers.json_array.BUFFER_BYTES", size)
        assert read(path) == expected
    assert [row["text"] for row in expected[:60]] == [each["text"] for each in objects[:60]]
    assert {row["reason"] for row in expected[60:]} == {"not a JSON object"}
    monkeypatch.setattr("sentiment_ray.data.readers.json_array.MAX_LINE_BYTES", 50)
    with pytest.raises(DataError, match=r"a.jsonl: value \d+ of its JSON array cannot be read"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a", "label": "x"}', "ends inside its JSON array, after 1 values"),
        ('[{"text": "a", "label": "x"}, {"text": "b', "value 2 of its JSON array cannot be read"),
        ('[{"text": "a", "label": "x"} {"text": "b"}]', "after 1 values, '{' stands where , or ] is expected"),
        ('[{"text": "a", "label": "x"},]', "']' stands where value is expected"),
        ('[{"text": "a", "label": "x"}] trailing', r"'t' stands where \[ is expected"),
        ('[{"text": ' + "[" * 100_000, "value 1 of its JSON array cannot be read"),
        ('[["text", "label"], ["fine", "positive"]]', "its lines hold arrays"),
        ('["fine", "bad"]\n', "its lines hold arrays"),
        ('{\n "text": "a",\n "label": "x"\n}\n{\n "text": "b"\n}\n', "its objects span several lines.*jq -c"),
        ('{"data": [{"text": "a", "label": "x"}]}', r"""Its rows are in the key 'data'.*jq -c '.\["data"\]\[\]'"""),
        ('{\n "data": [\n  {"text": "a", "label": "x"}\n ]\n}', "Its rows are in the key 'data'"),
        ('{"text":{"0":"a"},"label":{"0":"x"}}', 'to_json\\(path, orient="records", lines=True\\)'),
        ('{"text":["a","b"],"label":["x","y"]}', "a table of pandas by columns"),
        ('{"columns":["text","label"],"index":[0],"data":[["a","x"]]}', "a table of pandas by columns"),
        ('{"text": "a", "label": "x"},\n{"text": "b", "label": "x"},\n', "its lines go on after an object"),
        ('{"text": "a"}{"text": "b"}\n', "its lines go on after an object"),
        ("{'text': 'a', 'label': 'x'}\n", "its keys are in single quotes"),
        ("text,label\nfine,positive\n", "no line of it is a JSON object"),
        ("fine\nbad\n", "no line of it is a JSON object"),
    ],
)
def test_json_of_another_layout_is_named(tmp_path: Path, content: str, message: str) -> None:
    for name in ("a.jsonl", "a.json"):
        with pytest.raises(DataError, match=message):
            read(write(tmp_path / name, content), format="jsonl")


def test_an_object_with_lists_may_be_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "fine", "label": "positive", "parts": [{"a": 1}], "more": {"b": 2}}')
    assert texts_and_labels(read(path)) == [("fine", "positive")]


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
