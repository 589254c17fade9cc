"""The readers of all formats, with the defects of real files."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.readers import jsonl, parquet, text_lines
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import ConfigError, DataError
from tests.data.raw_rows import read, reasons, texts_and_labels

ROWS = [("A fine day.", "positive"), ('She said "no",\nand left.', "negative"), ("Ärger 🙂\u2028ja", "neutral")]


def write_csv(path: Path, rows: list[tuple[str, str]], *, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *rows])
    return path


def write_objects(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def write_parquet(path: Path, *, row_group_size: int = 1000, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def chat(text: Any, label: Any) -> dict[str, Any]:
    roles = {"system": "Classify.", "user": text, "assistant": label}
    return {"messages": [{"role": role, "content": content} for role, content in roles.items()]}


def test_every_format_gives_the_same_texts_and_labels(tmp_path: Path) -> None:
    texts, labels = zip(*ROWS, strict=True)
    write_csv(tmp_path / "a.csv", ROWS)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes())
    write_csv(tmp_path / "a.tsv", ROWS, delimiter="\t")
    write_objects(tmp_path / "a.jsonl", [{"text": text, "label": label} for text, label in ROWS])
    write_objects(tmp_path / "chat.jsonl", [chat(*row) for row in ROWS])
    write_parquet(tmp_path / "a.parquet", text=texts, label=labels)
    write_parquet(tmp_path / "large.parquet", text=pa.array(texts, pa.large_string()), label=labels)
    write_parquet(tmp_path / "dictionary.parquet", text=pa.array(texts).dictionary_encode(), label=labels)
    write_parquet(tmp_path / "bytes.parquet", text=[text.encode() for text in texts], label=labels)
    for path in sorted(tmp_path.iterdir()):
        keys = {"quote": '"'} if path.suffix == ".tsv" else {}
        rows = read(path, format="chat" if path.stem == "chat" else "auto", **keys)
        assert texts_and_labels(rows) == ROWS, path.name
        assert all(row["reason"] is None for row in rows), path.name


def test_a_row_number_is_where_a_person_finds_the_row(tmp_path: Path) -> None:
    """The second row of the CSV is on lines 3 and 4, since it holds a line break."""
    write_csv(tmp_path / "a.csv", ROWS)
    write_objects(tmp_path / "a.jsonl", [{"text": text, "label": label} for text, label in ROWS])
    write_parquet(tmp_path / "a.parquet", text=["a", "b", "c", "d", "e"], label=["x"] * 5, row_group_size=2)
    actual = {path.name: [row["row"] for row in read(path)] for path in sorted(tmp_path.iterdir())}
    assert actual == {"a.csv": [2, 3, 5], "a.jsonl": [1, 2, 3], "a.parquet": [0, 1, 2, 3, 4]}


def test_ids_name_source_file_and_row_or_come_from_a_column(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    values = [{"text": "a", "label": "x", "key": 7}, {"text": "b", "label": "x"}]
    path = write_objects(tmp_path / "in" / "deep" / "a.jsonl", values)
    assert [row["id"] for row in read(path)] == ["s:1", "s:2"]
    assert [row["id"] for row in read(tmp_path / "in")] == ["s/deep/a.jsonl:1", "s/deep/a.jsonl:2"]
    assert [row["id"] for row in read(path, id_column="key")] == ["7", "s:2"]


def test_blanks_around_a_column_name_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id, text, label \n7,fine,positive\n")
    (tmp_path / "a.tsv").write_text("id\t text\tlabel\u00a0\n7\tfine\tpositive\n")
    write_objects(tmp_path / "a.jsonl", [{"id": 7, "text ": "fine", "label\t": "positive"}])
    write_parquet(tmp_path / "a.parquet", **{"id": [7], "text ": ["fine"], " label": ["positive"]})
    (tmp_path / " label=positive").mkdir()
    write_parquet(tmp_path / " label=positive" / "a.parquet", **{"id": [7], " text": ["fine"]})
    for path in [*tmp_path.glob("a.*"), tmp_path]:
        for row in read(path, id_column="id"):
            assert (row["id"], row["text"], row["label"], row["reason"]) == ("7", "fine", "positive", None), path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (" text,text ,label", r"Several names differ from it by blanks alone: ' text', 'text '"),
        ("Text,label", r"is missing \(found: 'Text', 'label'\). Did you mean 'Text'\?"),
        (" text, text,label", "Several names differ from it by blanks alone: ' text', ' text'"),
        ("id ,te  xt,label", r"\(found: 'id ', 'te  xt', 'label'\). Did you mean 'te  xt'\?"),
    ],
)
def test_a_column_name_that_is_not_certain_is_not_taken(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\na,b,c\n")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.csv")


def test_numbers_as_labels_have_one_spelling_in_all_formats(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "whole.parquet", text=["a", "b", "c"], label=[0, 1, None])
    floats = write_parquet(tmp_path / "floats.parquet", text=["a", "b", "c"], label=[0.0, 1.0, None])
    objects = write_objects(
        tmp_path / "a.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": 1.0}, {"text": "c"}]
    )
    for path in (whole, floats, objects):
        assert [row["label"] for row in read(path)] == ["0", "1", None]


def test_defects_of_csv_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"text,label\nfine,positive\nragged\nto,o,many\n\nbroken \xff byte,positive\n"
        b'"stray" quote,positive\n"x' + b"y" * 2_000_000 + b'",positive\nfine again,neutral\n'
    )
    rows = read(path)
    assert reasons(rows) == {
        2: None,
        3: "1 cells where the header has 2",
        4: "3 cells where the header has 2",
        6: "invalid UTF-8 (probably cp1252: set encoding)",
        7: "not CSV: ',' expected after '\"'",
        8: "not CSV: field larger than field limit (1048576)",
        9: None,
    }
    assert texts_and_labels([rows[0], rows[-1]]) == [("fine", "positive"), ("fine again", "neutral")]


def test_defects_of_json_lines(tmp_path: Path) -> None:
    lines = [
        b'{"text": "fine", "label": "positive"}',
        b'{"text": "half',
        b"[1]",
        b"",
        b'{"text": "\xff", "label": "x"}',
    ]
    lines += [b'{"text": "\\ud83d", "label": "x"}', b'{"text": 5, "label": "x"}', b'{"text": "a", "label": ["x"]}']
    lines += [b"[" * 100_000, b'{"text": "' + b"y" * ((1 << 20) + 1) + b'"}', b'{"label": "x"}', b'{"text": "fine"}']
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert reasons(read(path)) == {
        1: None,
        2: "not a JSON object",
        3: "not a JSON object",
        5: "invalid UTF-8 (probably cp1252: set encoding)",
        6: "invalid UTF-8",
        7: "text is not a string",
        8: "label is neither a string nor a number",
        9: "not a JSON object",
        10: "text longer than 1048576 bytes",
        11: None,
        12: None,
    }


def test_defects_of_chats(tmp_path: Path) -> None:
    good, user, answer = (
        chat("fine", "Positive"),
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "x"},
    )
    values = [good, {"messages": "a"}, {"message": []}, {"messages": [answer]}, {"messages": [user]}]
    values += [{"messages": [user, user, answer]}, {"messages": [{"role": "user"}, answer]}, chat([5], "x"), "text"]
    assert reasons(read(write_objects(tmp_path / "a.jsonl", values), format="chat")) == {
        1: None,
        2: "chat without a list of messages",
        3: "chat without a list of messages",
        4: "chat without user message",
        5: "chat without assistant message",
        6: "chat with several user messages",
        7: "chat message without content",
        8: "content of the user message is not text",
        9: "not a JSON object",
    }


def test_defects_of_parquet_rows(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff", None])
    for name, column in {"bytes": raw, "lying": pa.Array.from_buffers(pa.string(), 3, raw.buffers())}.items():
        rows = read(write_parquet(tmp_path / f"{name}.parquet", text=column, label=["x"] * 3))
        assert reasons(rows) == {0: None, 1: "invalid UTF-8", 2: None}
        assert [row["text"] for row in rows] == ["fine", None, None]


def test_tables_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {number}" for number in range(25_000)]
    path = write_parquet(tmp_path / "a.parquet", text=texts, label=["x"] * 25_000, row_group_size=25_000)
    config = resolve_paths(PrepareConfig(output=str(tmp_path / "output"), sources=[{"path": str(path)}]))
    (unit,) = make_read_tasks(config, list_files(config))
    assert [len(table) for table in read_tables(unit, config.sources[0])] == [10_000, 10_000, 5_000]
    monkeypatch.setattr("sentiment_ray.data.readers.rows.MAX_TABLE_CHARACTERS", 30_000)
    monkeypatch.setattr(parquet, "MAX_BATCH_BYTES", 1000)
    sizes = [len(table) for table in read_tables(unit, config.sources[0])]
    assert max(sizes) < 5_000
    assert sum(sizes) == 25_000


def test_a_source_is_a_file_a_directory_or_a_glob(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "_temporary/c.jsonl", ".hidden.jsonl", "deep/d.ndjson", "notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_objects(tmp_path / "in" / name, [{"text": name, "label": "x"}])
    actual = {path: [row["text"] for row in read(path)] for path in (f"{tmp_path}/in", f"{tmp_path}/in/[ab].jsonl")}
    assert list(actual.values()) == [["a.jsonl", "b.jsonl", "deep/d.ndjson"], ["a.jsonl", "b.jsonl"]]
    assert [row["text"] for row in read(tmp_path / "in" / "notes.txt", format="jsonl")] == ["notes.txt"]


def test_names_of_sources_come_from_their_paths_and_must_differ(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "train.jsonl.gz", tmp_path / "two" / "*.csv", tmp_path / "three"]
    (tmp_path / "two").mkdir()
    (tmp_path / "three").mkdir()
    config = PrepareConfig(output="output", sources=[{"path": str(path)} for path in paths])
    assert [source.name for source in resolve_paths(config).sources] == ["train", "two", "three"]
    with pytest.raises(ConfigError, match="Two sources have the name 'three'"):
        resolve_paths(config.model_copy(update={"sources": config.sources[2:] * 2}))


@pytest.mark.parametrize(
    ("name", "content", "keys", "message"),
    [
        ("gone.csv", None, {}, "gone.csv does not exist"),
        ("*.csv", None, {}, r"does not hold a file"),
        ("", None, {}, "does not hold a file that ends in .parquet"),
        ("a.txt", b"text,label\n", {}, "a.txt: its ending names no format .* --format"),
        ("a.csv", b"", {}, "a.csv is empty"),
        (
            "a.csv",
            b"body,label\nx,y\n",
            {},
            r"a.csv: the column 'text' is missing \(found: 'body', 'label'\).*--text-column",
        ),
        (
            "a.csv",
            b"text,stars\n",
            {},
            r"a.csv: the column 'label' is missing \(found: 'text', 'stars'\).*--label-column",
        ),
        ("a.csv", b"text,label\n", {"id_column": "key"}, "the column 'key' is missing .*Set id_column"),
        ("a.csv", "text,label\n".encode("utf-16"), {}, "a.csv is in UTF-16"),
        ("a.csv", b"text,l\xe4bel\n", {}, r"a.csv: its header is invalid UTF-8 \(probably cp1252: set encoding\)"),
        ("a.jsonl", b'{"body": "x"}\n', {}, r"a.jsonl: the column 'text' is missing \(found: 'body'\)"),
        ("a.jsonl", b'{"messages": []}\n', {"format": "jsonl"}, "the column 'text' is missing .* Pass --format chat"),
        ("a.jsonl", b'{"text": "x"}\n', {"format": "chat"}, "the key 'messages' of a chat is missing"),
        ("a.parquet", b"PAR1 cut off", {}, "a.parquet is not a readable Parquet file"),
    ],
)
def test_defects_of_files_are_found_before_any_row_is_read(
    tmp_path: Path, name: str, content: bytes | None, keys: dict[str, Any], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "in" if not name and (tmp_path / "in").mkdir() is None else tmp_path / name, **keys)


def test_a_file_that_ends_too_early_is_named(tmp_path: Path) -> None:
    rows = "".join(f'{{"text": "{number * 7919}", "label": "x"}}\n' for number in range(20_000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(rows.encode())[:-5000])
    with pytest.raises(DataError, match="a.jsonl.gz cannot be read to its end"):
        read(path)


def test_a_damaged_page_is_named_with_its_row_group(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", text=[str(n) * 9 for n in range(5000)], label=["x"] * 5000)
    content = bytearray(path.read_bytes())
    content[100:2000] = b"\xff" * 1900
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.parquet: row group 0 cannot be read"):
        read(path)


@pytest.mark.parametrize("output", ["in/prepared", "in", "in/a.csv"])
def test_an_output_among_the_input_is_refused(tmp_path: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    write_csv(tmp_path / "in" / "a.csv", ROWS)
    config = PrepareConfig(output=str(tmp_path / output), sources=[{"path": str(tmp_path / "in")}])
    with pytest.raises(ConfigError, match="lies inside the source"):
        list_files(resolve_paths(config))


def test_a_long_line_is_cut_and_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (jsonl, text_lines):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 64)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine", "label": "x"}\n' + b"z" * 200 + b'\n{"text": "next", "label": "x"}\n')
    assert reasons(read(path)) == {1: None, 2: "line longer than 64 bytes", 3: None}
