"""Makes broken rows and broken files with one defect each, and names the expected reason."""

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LABELS = ("negative", "neutral", "positive")
MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True)
class BrokenRow:
    """A file with some good rows and one defect; `reasons` are by row number."""

    file: str
    content: Callable[[str], bytes]
    """Makes the file's bytes; its argument is the start of each good text."""
    reasons: dict[int, str]
    keys: dict[str, Any] = field(default_factory=dict)
    good: int = 3

    def write(self, directory: Path) -> dict[str, Any]:
        """Write the file to a directory and return the directory as a source."""
        path = directory / self.file
        path.parent.mkdir(parents=True)
        path.write_bytes(self.content(directory.name))
        return {"path": str(directory), "name": directory.name, **self.keys}


def good_rows(name: str, labels: Sequence[Any] = LABELS) -> list[tuple[str, Any]]:
    return [(f"{name}: good row {index}", label) for index, label in enumerate(labels)]


def separated(*lines: bytes, labels: Sequence[Any] = LABELS, separator: str = ",") -> Callable[[str], bytes]:
    """Make a file with a header on line 1, good rows on lines 2 to 4, and then `lines`."""

    def content(name: str) -> bytes:
        head = [("text", "label"), *good_rows(name, labels)]
        return b"\n".join([*(f"{text}{separator}{label}".encode() for text, label in head), *lines, b""])

    return content


def objects(*lines: bytes) -> Callable[[str], bytes]:
    """Make a file with good rows on lines 1 to 3, and then `lines`."""

    def content(name: str) -> bytes:
        good = [json.dumps({"text": text, "label": label}).encode() for text, label in good_rows(name)]
        return b"\n".join([*good, *lines, b""])

    return content


def chats(*examples: Any) -> Callable[[str], bytes]:
    def content(name: str) -> bytes:
        good = [chat(*row) for row in good_rows(name)]
        return "".join(json.dumps(value) + "\n" for value in (*good, *examples)).encode()

    return content


def chat(text: Any, label: Any) -> dict[str, Any]:
    return {"messages": [message("user", text), message("assistant", label)]}


def message(role: Any, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def table(text: Any, label: Any, *, kind: pa.DataType | None = None, labels: Sequence[Any] = LABELS) -> Any:
    """Make a file with good rows 0 to 2, and then a row with this text and label."""

    def content(name: str) -> bytes:
        rows = [*good_rows(name, labels), (text, label)]
        texts = [value if isinstance(value, bytes) or value is None else value.encode() for value, _ in rows]
        column = pa.array(texts, pa.binary())
        if kind == pa.string():  # unchecked, as some writers leave it
            column = pa.Array.from_buffers(pa.string(), len(column), column.buffers())
        return parquet_bytes(pa.table({"text": column, "label": [value for _, value in rows]}))

    return content


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def zstandard(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


PROBABLY_CP1252 = "invalid UTF-8 (probably cp1252: set encoding)"
NOT_QUOTED = "(not quoted: it may be a review)"
USER, ANSWER = message("user", "fine"), message("assistant", "neutral")
RATED = {"label_map": {1: "negative", 2: "neutral", 3: "positive"}}
STARS = {"stars": {"negative": [1], "neutral": [2], "positive": [3]}}
GRADED = {"cut_points": [1.5, 2.5]}
TITLED = {"text_column": ["title", "text"]}

BROKEN_ROWS: dict[str, BrokenRow] = {
    "csv-empty-text": BrokenRow("a.csv", separated(b",neutral"), {5: "empty text"}),
    "csv-blank-text": BrokenRow("a.csv", separated(" \t\u00a0,neutral".encode()), {5: "empty text"}),
    "csv-empty-label": BrokenRow("a.csv", separated(b"fine,"), {5: "null label"}),
    "csv-unknown-label": BrokenRow("a.csv", separated(b"fine,mixed"), {5: "label 'mixed' is not in labels"}),
    "csv-columns-swapped": BrokenRow(
        "a.csv", separated(b"neutral,I did like it"), {5: f"label is not in labels {NOT_QUOTED}"}
    ),
    "csv-too-few-cells": BrokenRow("a.csv", separated(b"fine"), {5: "1 cells where the header has 2"}),
    "csv-too-many-cells": BrokenRow("a.csv", separated(b"fine, really,neutral"), {5: "3 cells where the header has 2"}),
    "csv-stray-quote": BrokenRow("a.csv", separated(b'"stray" quote,neutral'), {5: "not CSV: ',' expected after '\"'"}),
    "csv-open-quote": BrokenRow(
        "a.csv", separated(b'"open,neutral', b"a row after it,neutral"), {5: "not CSV: unexpected end of data"}, good=4
    ),
    "csv-invalid-utf8-text": BrokenRow("a.csv", separated(b"caf\xe9,neutral"), {5: PROBABLY_CP1252}),
    "csv-invalid-utf8-label": BrokenRow("a.csv", separated(b"fine,neutr\xe4l"), {5: PROBABLY_CP1252}),
    "csv-hole-of-nuls": BrokenRow("a.csv", separated(b"\0" * 512), {5: "1 cells where the header has 2"}),
    "csv-huge-cell": BrokenRow(
        "a.csv",
        separated(b"y" * 2 * MAX_TEXT_BYTES + b",neutral"),
        {5: f"not CSV: field larger than field limit ({MAX_TEXT_BYTES})"},
    ),
    "csv-gz-ragged": BrokenRow(
        "a.csv.gz", lambda name: gzip.compress(separated(b"fine")(name)), {5: "1 cells where the header has 2"}
    ),
    "csv-zst-ragged": BrokenRow(
        "a.csv.zst", lambda name: zstandard(separated(b"fine")(name)), {5: "1 cells where the header has 2"}
    ),
    "tsv-with-commas": BrokenRow(
        "a.tsv", separated(b"fine,neutral", separator="\t"), {5: "1 cells where the header has 2"}
    ),
    "tsv-quoted-tab-among-stray-quotes": BrokenRow(
        "a.tsv",
        separated(b'"a"b\tneutral', b'"a\tb"\tneutral', separator="\t"),
        {6: "3 cells where the header has 2 (with a quote before a cell: set quote)"},
        good=4,
    ),
    "csv-quote-that-merges-rows": BrokenRow(
        "a.csv",
        separated(b'"cut off,neutral', b"a swallowed row,positive", b'the end",negative'),
        {5: "not CSV: a quote has no end before the next row"},
        good=5,
    ),
    "csv-backslash-before-quote": BrokenRow(
        "a.csv",
        separated(rb'"a \"b\"",neutral', b"one,cell,more"),
        {
            5: "not CSV: ',' expected after '\"' (with a backslash before a quote: set escape)",
            6: "3 cells where the header has 2",
        },
    ),
    "csv-cp1252-hole": BrokenRow(
        "a.csv", separated(b"fine\x81,neutral"), {5: "invalid cp1252"}, {"encoding": "cp1252"}
    ),
    "label-map-miss": BrokenRow(
        "a.csv", separated(b"fine,4", labels=(1, 2, 3)), {5: "label '4' is not in label_map"}, RATED
    ),
    "stars-miss": BrokenRow(
        "a.csv", separated(b"fine,0.5", labels=(1, 2, 3)), {5: "label '0.5' is not in stars"}, STARS
    ),
    "cut-point-on-text": BrokenRow(
        "a.csv", separated(b"fine,good", labels=(1, 2, 3)), {5: "label 'good' is not a finite number"}, GRADED
    ),
    "cut-point-on-nan": BrokenRow(
        "a.parquet",
        table("fine", float("nan"), labels=(1.0, 2.0, 3.0)),
        {3: "label 'nan' is not a finite number"},
        GRADED,
    ),
    "jsonl-cut-off": BrokenRow("a.jsonl", objects(b'{"text": "half'), {4: "not a JSON object"}),
    "jsonl-array": BrokenRow("a.jsonl", objects(b'["fine", "neutral"]'), {4: "not a JSON object"}),
    "jsonl-string": BrokenRow("a.jsonl", objects(b'"fine"'), {4: "not a JSON object"}),
    "jsonl-two-objects": BrokenRow("a.jsonl", objects(b'{"text": "a"} {"text": "b"}'), {4: "not a JSON object"}),
    "jsonl-deep": BrokenRow("a.jsonl", objects(b"[" * 100_000), {4: "not a JSON object"}),
    "jsonl-null-text": BrokenRow("a.jsonl", objects(b'{"text": null, "label": "neutral"}'), {4: "null text"}),
    "jsonl-no-text": BrokenRow("a.jsonl", objects(b'{"label": "neutral"}'), {4: "null text"}),
    "jsonl-nan-text": BrokenRow("a.jsonl", objects(b'{"text": NaN, "label": "neutral"}'), {4: "text is not a string"}),
    "jsonl-nested-text": BrokenRow(
        "a.jsonl", objects(b'{"text": {"en": "fine"}, "label": "neutral"}'), {4: "text is not a string"}
    ),
    "jsonl-half-a-pair": BrokenRow(
        "a.jsonl", objects(rb'{"text": "\ud83d", "label": "neutral"}'), {4: "invalid UTF-8"}
    ),
    "jsonl-invalid-utf8": BrokenRow("a.jsonl", objects(b'{"text": "\xff", "label": "neutral"}'), {4: PROBABLY_CP1252}),
    "jsonl-list-label": BrokenRow(
        "a.jsonl", objects(b'{"text": "fine", "label": ["neutral"]}'), {4: "label is neither a string nor a number"}
    ),
    "jsonl-endless-line": BrokenRow(
        "a.jsonl", objects(b"z" * (8 * MAX_TEXT_BYTES + 1)), {4: f"line longer than {8 * MAX_TEXT_BYTES} bytes"}
    ),
    "jsonl-huge-text": BrokenRow(
        "a.jsonl",
        objects(b'{"text": "' + b"y" * (MAX_TEXT_BYTES + 1) + b'", "label": "neutral"}'),
        {4: f"text longer than {MAX_TEXT_BYTES} bytes"},
    ),
    "jsonl-number-as-title": BrokenRow(
        "a.jsonl", objects(b'{"title": 5, "text": "fine", "label": "neutral"}'), {4: "text is not a string"}, TITLED
    ),
    "parquet-null-text": BrokenRow("a.parquet", table(None, "neutral"), {3: "null text"}),
    "parquet-blank-text": BrokenRow("a.parquet", table("\u2003\n", "neutral"), {3: "empty text"}),
    "parquet-null-label": BrokenRow("a.parquet", table("fine", None), {3: "null label"}),
    "parquet-bytes-no-utf8": BrokenRow("a.parquet", table(b"\xff", "neutral"), {3: "invalid UTF-8"}),
    "parquet-lying-string": BrokenRow("a.parquet", table(b"\xff", "neutral", kind=pa.string()), {3: "invalid UTF-8"}),
    "parquet-huge-cell": BrokenRow(
        "a.parquet", table("ü" * MAX_TEXT_BYTES, "neutral"), {3: f"text longer than {MAX_TEXT_BYTES} bytes"}
    ),
    "hive-null-label": BrokenRow(
        "label=__HIVE_DEFAULT_PARTITION__/a.parquet",
        lambda name: parquet_bytes(pa.table({"text": ["fine"]})),
        {0: "null label"},
        good=0,
    ),
    "chat-answer-first": BrokenRow(
        "a.jsonl", chats({"messages": [ANSWER, USER]}), {4: "chat that does not end with the assistant message"}
    ),
    "chat-no-messages": BrokenRow("a.jsonl", chats({"prompt": "fine"}), {4: "chat without a list of messages"}),
    "chat-messages-no-list": BrokenRow("a.jsonl", chats({"messages": "fine"}), {4: "chat without a list of messages"}),
    "chat-message-no-object": BrokenRow(
        "a.jsonl", chats({"messages": ["fine"]}), {4: "chat without a list of messages"}
    ),
    "chat-no-role": BrokenRow("a.jsonl", chats({"messages": [{"content": "a"}]}), {4: "chat message without role"}),
    "chat-no-content": BrokenRow(
        "a.jsonl", chats({"messages": [{"role": "user"}]}), {4: "chat message without content"}
    ),
    "chat-unknown-role": BrokenRow(
        "a.jsonl",
        chats({"messages": [message("human", "fine"), ANSWER]}),
        {4: "chat message of the unknown role 'human'"},
    ),
    "chat-review-as-role": BrokenRow(
        "a.jsonl", chats({"messages": [message("I did like it", "")]}), {4: "chat message of an unknown role"}
    ),
    "chat-several-users": BrokenRow(
        "a.jsonl", chats({"messages": [USER, USER, ANSWER]}), {4: "chat with several user messages"}
    ),
    "chat-no-assistant": BrokenRow("a.jsonl", chats({"messages": [USER]}), {4: "chat without assistant message"}),
    "chat-no-user": BrokenRow("a.jsonl", chats({"messages": [ANSWER]}), {4: "chat without user message"}),
    "chat-content-is-a-number": BrokenRow(
        "a.jsonl", chats(chat(5, "neutral")), {4: "content of the user message is not text"}
    ),
    "chat-image": BrokenRow(
        "a.jsonl",
        chats(chat([{"type": "text", "text": "fine"}, {"type": "image_url", "image_url": {}}], "neutral")),
        {4: "content of the user message has a part of type 'image_url'"},
    ),
    "chat-review-as-type": BrokenRow(
        "a.jsonl", chats(chat([{"type": "I did like it"}], "neutral")), {4: "content of the user message is not text"}
    ),
    "chat-empty-parts": BrokenRow("a.jsonl", chats(chat([], "neutral")), {4: "null text"}),
    "chat-tool-call": BrokenRow(
        "a.jsonl",
        chats({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "c"}]}]}),
        {4: "chat with a tool call"},
    ),
    "chat-tool-answer": BrokenRow(
        "a.jsonl", chats({"messages": [USER, message("tool", "x"), ANSWER]}), {4: "chat with a tool message"}
    ),
    "chat-refusal": BrokenRow(
        "a.jsonl",
        chats({"messages": [USER, message("assistant", None) | {"refusal": "No."}]}),
        {4: "chat with a refusal"},
    ),
    "chat-refusal-as-part": BrokenRow(
        "a.jsonl", chats(chat("fine", [{"type": "refusal", "refusal": "No."}])), {4: "chat with a refusal"}
    ),
    "chat-weight-0": BrokenRow(
        "a.jsonl", chats({"messages": [USER, ANSWER | {"weight": 0}]}), {4: "chat whose answer has weight 0"}
    ),
    "chat-system-and-developer": BrokenRow(
        "a.jsonl",
        chats({"messages": [message("system", "a"), message("developer", "b"), USER, ANSWER]}),
        {4: "chat with several system messages"},
    ),
    "chat-null-content": BrokenRow("a.jsonl", chats(chat(None, "neutral")), {4: "null text"}),
    "chat-null-answer": BrokenRow("a.jsonl", chats(chat("fine", None)), {4: "null label"}),
    "chat-other-answer": BrokenRow("a.jsonl", chats(chat("fine", "Mixed")), {4: "label 'Mixed' is not in labels"}),
    "chat-no-json": BrokenRow("a.jsonl", lambda name: chats()(name) + b"fine\n", {4: "not a JSON object"}),
}

GOOD = pa.table({"text": [f"fine {number * 7919}" for number in range(5000)], "label": ["neutral"] * 5000})
PARQUET = parquet_bytes(GOOD, use_dictionary=False, compression="none", write_page_checksum=True)
LINES = "".join(
    f'{{"text": "{zlib.crc32(bytes([number % 256]))} {number}", "label": "neutral"}}\n' for number in range(20_000)
).encode()
TWICE = pa.Table.from_arrays([pa.array(["a"])] * 3, ["text", "label", "text"])


def _flipped(content: bytes, start: int, end: int) -> bytes:
    return content[:start] + bytes(byte ^ 0xFF for byte in content[start:end]) + content[end:]


BROKEN_FILES: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "ending-unknown": ("a.txt", b"text,label\n", {}, "its ending names no format"),
    "csv-empty": ("a.csv", b"", {}, "is empty. Its first line must hold the column names"),
    "csv-byte-order-mark-alone": ("a.csv", b"\xef\xbb\xbf", {}, "is empty. Its first line"),
    "csv-header-alone": ("a.csv", b"text,label\n", {}, "hold no rows"),
    "csv-no-header": ("a.csv", b"fine,neutral\n", {}, r"the column 'text' is missing \(found: 'fine', 'neutral'\)"),
    "csv-column-missing": (
        "a.csv",
        b"body,label\na,b\n",
        {},
        r"the column 'text' is missing \(found: 'body', 'label'\)",
    ),
    "csv-second-text-column-missing": ("a.csv", b"text,label\na,b\n", TITLED, "the column 'title' is missing"),
    "csv-header-twice": ("a.csv", b"text,label,text\na,b,c\n", {}, "has 2 columns 'text'"),
    "csv-header-with-stray-quote": ("a.csv", b'"te"xt,label\n', {}, "the header cannot be read"),
    "csv-header-no-utf8": ("a.csv", b"text,label,gr\xf6sse\n", {}, "its header is invalid UTF-8"),
    "csv-utf16": ("a.csv", "text,label\nfine,neutral\n".encode("utf-16"), {}, "is in UTF-16"),
    "jsonl-utf16": ("a.jsonl", '{"text": "fine"}\n'.encode("utf-16"), {}, "is in UTF-16"),
    "csv-is-a-zip": ("a.csv", b"PK\x03\x04\x14\x00\xff\xfe\n" * 9, {}, "is a ZIP archive. Unpack it"),
    "jsonl-empty": ("a.jsonl", b"", {}, "hold no rows"),
    "jsonl-column-missing": ("a.jsonl", b'{"body": "a"}\n', {}, r"the column 'text' is missing \(found: 'body'\)"),
    "jsonl-is-chat": ("a.jsonl", b'{"messages": []}\n', {"format": "jsonl"}, "Pass --format chat"),
    "jsonl-and-chat": ("a.jsonl", b'{"messages": [], "text": "a"}\n', {}, "have both the key 'messages' of a chat"),
    "jsonl-prompts": ("a.jsonl", b'{"prompt": "a", "completion": " neutral"}\n', {}, "--label-column completion"),
    "jsonl-instructions": (
        "a.jsonl",
        b'{"instruction": "a", "input": "b", "output": "c"}\n',
        {},
        "--text-column input",
    ),
    "jsonl-preferences": ("a.jsonl", b'{"preferred_output": [], "non_preferred_output": []}\n', {}, "are no labels"),
    "jsonl-other-chats": ("a.jsonl", b'{"conversations": [{"from": "human"}]}\n', {}, 'Write each example as {"mess'),
    "chat-is-jsonl": ("a.jsonl", b'{"text": "a"}\n', {"format": "chat"}, "the key 'messages' of a chat is missing"),
    "gzip-no-gzip": ("a.csv.gz", b"text,label\nfine,neutral\n", {}, "is not compressed as its ending .gz says"),
    "gzip-cut-off": ("a.jsonl.gz", gzip.compress(LINES)[:-5000], {}, "cannot be read to its end"),
    "gzip-wrong-sum": ("a.jsonl.gz", _flipped(gzip.compress(LINES), -8, -4), {}, "cannot be read to its end"),
    "zstandard-no-zstandard": ("a.csv.zst", b"text,label\nfine,neutral\n", {}, "is not compressed as its ending .zst"),
    "zstandard-cut-off": ("a.jsonl.zst", zstandard(LINES)[:-5000], {}, "cannot be read to its end"),
    "zstandard-damaged": ("a.jsonl.zst", _flipped(zstandard(LINES), 9000, 9100), {}, "cannot be read to its end"),
    "parquet-empty": ("a.parquet", b"", {}, "is not a readable Parquet file"),
    "parquet-is-csv": ("a.parquet", b"text,label\nfine,neutral\n", {}, "is not a readable Parquet file"),
    "parquet-cut-off": ("a.parquet", PARQUET[:-2000], {}, "is not a readable Parquet file"),
    "parquet-wrong-footer": ("a.parquet", _flipped(PARQUET, -400, -8), {}, "is not a readable Parquet file"),
    "parquet-wrong-footer-length": (
        "a.parquet",
        PARQUET[:-8] + b"\xff\xff\xff\x7fPAR1",
        {},
        "is not a readable Parquet file",
    ),
    "parquet-damaged-page": ("a.parquet", _flipped(PARQUET, 300, 301), {}, "row group 0 cannot be read"),
    "parquet-beginning-lost": ("a.parquet", _flipped(PARQUET, 4, 2000), {}, "row group 0 cannot be read"),
    "parquet-last-bytes-twice": (
        "a.parquet",
        PARQUET + PARQUET[-8:],
        {},
        "is not a readable Parquet file",
    ),
    "parquet-column-missing": (
        "a.parquet",
        parquet_bytes(pa.table({"text": ["a"]})),
        {},
        "the column 'label' is missing",
    ),
    "parquet-column-twice": ("a.parquet", parquet_bytes(TWICE), {}, "has 2 columns 'text'"),
    "parquet-numbers-as-text": (
        "a.parquet",
        parquet_bytes(pa.table({"text": [1], "label": ["neutral"]})),
        {},
        "'text' holds int64, not texts",
    ),
    "parquet-structs-as-label": (
        "a.parquet",
        parquet_bytes(pa.table({"text": ["a"], "label": [{"stars": 5}]})),
        {},
        "'label' holds struct<stars: int64>, not texts or numbers",
    ),
}
