"""Encodings, byte order marks, line ends and compression of text files."""

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.data.readers.encodings import guess_encoding
from sentiment_ray.errors import DataError
from tests.data.raw_rows import GOOD, format_rows, read, texts_and_labels, write


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
