"""The chat format of hosted fine-tuning APIs: the counts of a chat file, and prepared rows written as chat files."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sentiment_ray.config.sections import load_config
from sentiment_ray.data.chat_costs import count_chats, describe_chats
from sentiment_ray.data.chat_export import check_target
from sentiment_ray.data.config import SPLITS, Hosted, PrepareConfig
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.data.readers.chat import read_example
from sentiment_ray.data.readers.rows import read_tables
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.errors import BundleError, ConfigError, DataError
from sentiment_ray.manifest import read_json
from sentiment_ray.text.encoding import encode, load_encoder

LABELS = ("negative", "neutral", "positive")
SYSTEM = "Classify the sentiment as negative, neutral or positive."
NASTY = [
    "two\nlines\r\nand a carriage\rreturn",
    'She said "no" and \\"never\\".',
    "I ❤️ it 👍🏽",
    "a\u2028b\u2029c\x85d\x0be",
    "tab\tand nul \x00 and \x0c",
    "  blanks around  ",
    '{"messages": []}',
    "\ufeffmark",
    "\u202eright to left",
    "x" * 100_000,
    "é",
    "e\u0301\u0323",
]


def example(text: Any, label: Any, system: Any = None) -> dict[str, Any]:
    said = [("system", system)] * (system is not None) + [("user", text), ("assistant", label)]
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def write(path: Path, examples: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in examples))
    return path


def described(path: Path, **hosted: Any) -> dict[str, Any]:
    """Return what prepared.json says about a chat file."""
    keys = {"output": str(path.parent / "output"), "sources": [{"path": str(path), "format": "chat"}], "hosted": hosted}
    config = resolve_paths(PrepareConfig.model_validate(keys))
    counts = [count_chats(task, config.hosted) for task in make_read_tasks(config, list_files(config))]
    return describe_chats(config, counts)[config.sources[0].name]


def test_a_good_chat_file_has_no_warnings(tmp_path: Path) -> None:
    actual = described(write(tmp_path / "a.jsonl", [example(f"text {n}", "neutral", SYSTEM) for n in range(12)]))
    assert actual["warnings"] == []
    assert actual["system_messages"] == {"different": 1, "most_frequent": 12, "without": 0}
    assert (actual["examples"], actual["well_formed"]) == (12, 12)
    assert "hosted_fine_tune" not in actual


def test_few_examples_and_different_system_messages_give_warnings(tmp_path: Path) -> None:
    examples = [example("a", "neutral", SYSTEM)] * 4 + [example("b", "neutral", "Be kind.")] * 2
    actual = described(write(tmp_path / "a.jsonl", [*examples, example("c", "neutral"), {"prompt": "d"}]))
    assert actual["system_messages"] == {"different": 2, "most_frequent": 4, "without": 1}
    assert (actual["examples"], actual["well_formed"]) == (8, 7)
    assert actual["warnings"] == [
        "8 examples: hosted APIs want 10 or more",
        "1 of 8 lines are not well-formed examples",
        "2 different system messages, the most frequent one in 4 of 7 examples",
        "1 of 7 examples have no system message",
    ]


def test_tokens_are_estimated_from_characters_and_priced(tmp_path: Path) -> None:
    """40 characters are 10 tokens and "neutral" is 2; the two messages and the example add 11."""
    examples = [example("x" * 40, "neutral")] * 3 + [example("x" * 400, "neutral")]
    actual = described(write(tmp_path / "a.jsonl", examples), price_per_million_tokens=25, epochs=4)
    expected = {"total": 3 * 23 + 113, "mean": 45.5, "min": 23, "median": 23, "p95": 113, "max": 113}
    assert actual["tokens"] == {"counted_by": "estimate: characters / 4"} | expected
    cost = {"epochs": 4, "billed_tokens": 4 * 182, "price_per_million_tokens": 25, "cost": 0.0182}
    assert actual["hosted_fine_tune"] == cost


def test_a_given_tokenizer_counts_the_tokens(tmp_path: Path, tiny_encoder: Path) -> None:
    tokenizer = tiny_encoder / "tokenizer.json"
    texts = ["A fine day.", "bad " * 3000, "x", ""]
    actual = described(
        write(tmp_path / "a.jsonl", [example(text, "neutral") for text in texts]), tokenizer=str(tokenizer)
    )
    encoder = load_encoder(tokenizer, max_tokens=16_384)
    expected = [sum(encode(encoder, [text or "neutral", "neutral"][not text :]).num_tokens) for text in texts]
    overhead = 3 * 11 + 7
    assert actual["tokens"]["total"] == sum(expected) + overhead
    assert actual["tokens"]["counted_by"] == str(tokenizer)


def test_a_missing_tokenizer_is_named_before_any_work(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [example("a", "neutral")])
    keys = {"hosted": {"tokenizer": str(tmp_path / "no.json")}, "sources": [{"path": str(path), "format": "chat"}]}
    with pytest.raises(BundleError, match=r"no\.json is missing"):
        prepare_reviews(PrepareConfig.model_validate({"output": str(tmp_path / "out"), **keys}))


def test_a_file_without_examples_is_described(tmp_path: Path) -> None:
    actual = described(write(tmp_path / "a.jsonl", [{"messages": []}]), price_per_million_tokens=1)
    assert actual["tokens"] == {"counted_by": "estimate: characters / 4", "total": 0}
    assert actual["hosted_fine_tune"]["cost"] == 0


def test_an_unknown_key_of_the_hosted_section_is_named() -> None:
    flags = {"input": "a", "output": "o", "hosted": {"prise_per_million_tokens": 1}}
    with pytest.raises(ConfigError, match="Did you mean 'price_per_million_tokens'"):
        load_config(PrepareConfig, "prepare", file=None, flags=flags)
    assert Hosted().price_per_million_tokens is None


def read_chat_rows(path: Path, **keys: Any) -> list[dict[str, Any]]:
    """Return the raw rows of a file whose format is not named, or the ones of a directory."""
    config = resolve_paths(PrepareConfig.model_validate({"output": "/out", "sources": [{"path": str(path), **keys}]}))
    tasks = make_read_tasks(config, list_files(config))
    return [row for task in tasks for table in read_tables(task, config.sources[0]) for row in table.to_pylist()]


def example_with(user: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return an example whose messages have more keys, or other ones."""
    messages = ({"role": "user", "content": "tea"} | user, {"role": "assistant", "content": "neutral"} | answer)
    return {"messages": list(messages)}


TOOLS = {"tools": [], "parallel_tool_calls": False, "metadata": {"by": "someone"}}
PARTS = [{"type": "text", "text": "Late again."}, {"type": "text", "text": "And broken."}]


@pytest.mark.parametrize(
    ("value", "text", "label"),
    [
        (example("tea", "neutral", SYSTEM), "tea", "neutral"),
        ({"messages": [{"role": "developer", "content": "Go."}, *example("tea", "good")["messages"]]}, "tea", "good"),
        (example(PARTS, "negative"), "Late again.\nAnd broken.", "negative"),
        (example("tea", [{"type": "text", "text": "neutral"}]), "tea", "neutral"),
        (example(["tea"], "neutral", [{"type": "text", "text": SYSTEM}]), "tea", "neutral"),
        (example([{"type": "input_text", "text": "tea"}], [{"type": "output_text", "text": "good"}]), "tea", "good"),
        (example("tea", "neutral") | TOOLS, "tea", "neutral"),
        (example_with({"name": "someone", "weight": 0}, {"weight": 1}), "tea", "neutral"),
        (example_with({}, {"tool_calls": [], "refusal": None, "weight": 1.0}), "tea", "neutral"),
    ],
)
def test_an_example_is_one_text_with_one_label_in_every_spelling(value: dict[str, Any], text: str, label: str) -> None:
    actual = read_example(json.loads(json.dumps(value)))
    assert actual.reason is None
    assert actual.contents is not None
    assert (actual.contents["user"], actual.contents["assistant"]) == (text, label)


def test_a_chat_file_is_recognised_without_its_format(tmp_path: Path) -> None:
    lines = [json.dumps(example(f"text {number}", "neutral", SYSTEM)) for number in range(3)]
    contents = {
        "plain.jsonl": "\n".join(lines).encode(),
        "mark.jsonl": b"\xef\xbb\xbf" + "\r\n".join([*lines, "", ""]).encode(),
        "gzip.jsonl.gz": gzip.compress("\n".join(lines).encode()),
        "late.ndjson": ("\nnull\n" + "\n".join(lines)).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        rows = [row for row in read_chat_rows(tmp_path / name) if not row["reason"]]
        assert [(row["text"], row["label"]) for row in rows] == [(f"text {number}", "neutral") for number in range(3)]


def test_chats_and_plain_rows_may_be_in_one_directory(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [example("chat", "neutral")])
    write(tmp_path / "b.jsonl", [{"text": "plain", "label": "neutral"}])
    assert [row["text"] for row in read_chat_rows(tmp_path)] == ["chat", "plain"]


def test_a_named_format_is_not_guessed(tmp_path: Path) -> None:
    both = {**example("chat", "positive"), "text": "plain", "label": "neutral"}
    path = write(tmp_path / "a.jsonl", [both])
    with pytest.raises(DataError, match="both the key 'messages' of a chat and the column 'text'"):
        read_chat_rows(path)
    assert [read_chat_rows(path, format=name)[0]["text"] for name in ("chat", "jsonl")] == ["chat", "plain"]


def test_an_answer_of_weight_0_is_counted_and_warned_of(tmp_path: Path) -> None:
    examples = [example(PARTS, "neutral", SYSTEM) for _ in range(12)]
    examples[3]["messages"][-1]["weight"] = 0
    actual = described(write(tmp_path / "a.jsonl", examples))
    assert (actual["examples"], actual["well_formed"], actual["tokens"]["mean"]) == (12, 12, 15 + 14 + 6 + 2)
    assert actual["warnings"] == ["1 of 12 answers have weight 0, so they are not learned from"]


def rows_of(output: Path) -> set[tuple[str, str, str]]:
    tables = {split: pq.read_table(output / split, columns=["text", "label"]).to_pylist() for split in SPLITS}
    return {(row["text"], row["label"], split) for split, rows in tables.items() for row in rows}


@pytest.mark.usefixtures("ray_cluster")
def test_prepared_rows_survive_the_way_through_chat_files(tmp_path: Path) -> None:
    texts = [*NASTY, *(f"Review number {number}\nsecond line" for number in range(150))]
    rows = [{"text": text, "label": LABELS[index % 3]} for index, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = {"output": str(tmp_path / "first"), "input": str(tmp_path / "a.jsonl")}
    chat = {"to_chat": str(tmp_path / "chat"), "system_message": SYSTEM}
    made = prepare_reviews(PrepareConfig.model_validate(first | chat))
    assert made["to_chat"] == str(tmp_path / "chat")
    assert {path.name for path in (tmp_path / "chat").iterdir()} == {
        "chat.json",
        *(f"{split}.jsonl" for split in SPLITS),
    }
    for split in SPLITS:
        content = (tmp_path / "chat" / f"{split}.jsonl").read_text(encoding="utf-8")
        messages = [json.loads(line)["messages"] for line in content.splitlines()]  # also at U+2028
        assert {message[0]["content"] for message in messages} == {SYSTEM}
        assert len(messages) == made["counts"][split]

    fixed = [{"path": str(tmp_path / "chat" / f"{split}.jsonl"), "format": "chat", "split": split} for split in SPLITS]
    prepare_reviews(PrepareConfig.model_validate({"output": str(tmp_path / "second"), "sources": fixed}))
    assert rows_of(tmp_path / "second") == rows_of(tmp_path / "first")
    assert {text for text, _, _ in rows_of(tmp_path / "second")} == set(texts)
    report = read_json(tmp_path / "second" / "prepared.json")["chat"]
    assert {split: report[split]["examples"] for split in SPLITS} == {split: made["counts"][split] for split in SPLITS}

    (tmp_path / "chat" / "test.jsonl").unlink()
    assert prepare_reviews(PrepareConfig.model_validate(first | chat))["skipped"]
    assert (tmp_path / "chat" / "test.jsonl").is_file()

    # A finished result is also written as chat files: once, and again when the system message changes.
    before = (tmp_path / "chat" / "train.jsonl").stat().st_mtime_ns
    assert prepare_reviews(PrepareConfig.model_validate(first | chat))["skipped"]
    assert (tmp_path / "chat" / "train.jsonl").stat().st_mtime_ns == before
    assert prepare_reviews(PrepareConfig.model_validate(first | chat | {"system_message": None}))["skipped"]
    assert SYSTEM not in (tmp_path / "chat" / "train.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("to_chat", "message"),
    [
        ("out", "overlap"),
        ("out/chat", "overlap"),
        ("in", "overlap"),
        ("in/chat", "overlap"),
        (".", "overlap"),
        ("mine", "holds files that --to-chat did not write"),
        ("file.jsonl", "is a file. Name a directory"),
        ("ours-and-mine", "holds files that --to-chat did not write"),
        ("s3://bucket/chat", "is a URL"),
    ],
)
def test_a_directory_with_other_files_is_never_written_to(tmp_path: Path, to_chat: str, message: str) -> None:
    for name in ("in/a.jsonl", "mine/train.jsonl", "ours-and-mine/chat.json", "ours-and-mine/notes.txt", "file.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    target = to_chat if "://" in to_chat else str(tmp_path / to_chat)
    keys = {"output": str(tmp_path / "out"), "input": str(tmp_path / "in"), "to_chat": target}
    with pytest.raises(ConfigError, match=message):
        check_target(resolve_paths(PrepareConfig.model_validate(keys)))
    assert (tmp_path / "mine" / "train.jsonl").read_text() == "{}"


def test_a_system_message_without_chat_files_is_refused() -> None:
    with pytest.raises(ConfigError, match="system_message is for --to-chat, which is missing"):
        load_config(PrepareConfig, "prepare", file=None, flags={"input": "a", "output": "o", "system_message": "x"})
