"""JSON as programs write it: lines, arrays, and other layouts by name."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.errors import DataError
from tests.data.raw_rows import GOOD, read, texts_and_labels, write


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


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"row_idx": 1, "row": {"text": "fine", "label": "positive"}}, "'row.text'.*jq -c '.text = .row.text'"),
        ({"id": 1, "data": {"review": {"text": "fine"}}}, "jq -c '.text = .data.review.text'"),
        ({"custom_id": "1", "method": "POST", "url": "/v1", "body": {"model": "m"}}, "requests of a batch, which have"),
        ({"id": "b", "custom_id": "1", "response": {"body": {"text": "a"}}}, "answers of a batch.*by custom_id"),
        ({"id": 1, "data": {"text": "fine"}, "annotations": [{"result": []}]}, "Label Studio as CSV or as JSON-MIN"),
    ],
)
@pytest.mark.parametrize("num_rows", [1, 3])
def test_what_other_programs_write_is_named_with_the_way_out(
    tmp_path: Path, row: dict[str, Any], words: str, num_rows: int
) -> None:
    path = write(tmp_path / "a.jsonl", (json.dumps(row) + "\n") * num_rows)
    with pytest.raises(DataError, match=f"the column 'text' is missing.*{words}"):
        read(path)


def test_an_object_with_lists_may_be_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "fine", "label": "positive", "parts": [{"a": 1}], "more": {"b": 2}}')
    assert texts_and_labels(read(path)) == [("fine", "positive")]
