"""A training file is read as texts with labels, and each kind of wrong file is refused in the hosted wording."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.openai_api.training_file import (
    VALIDATION,
    InvalidTrainingFile,
    TrainingExamples,
    check_against_validation,
    read_training_file,
)

SYSTEM = "Classify the sentiment."
LABELS = ("Positive", "Negative", "Neutral")
PREFIX = "The job failed due to an invalid training file. "
NO_DICTIONARY = (
    "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
    "Line {} is not a dictionary: it {}."
)
Example = dict[str, Any]


def make_example(text: str, answer: Any, system: str | None = SYSTEM) -> Example:
    first = [{"role": "system", "content": system}] if system else []
    return {"messages": [*first, {"role": "user", "content": text}, {"role": "assistant", "content": answer}]}


def make_examples(count: int = 12) -> list[Example]:
    return [make_example(f"Text {number}.", LABELS[number % 3]) for number in range(count)]


def encode(examples: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(example, ensure_ascii=False).encode() + b"\n" for example in examples)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., TrainingExamples]:
    def read_bytes(data: bytes, **options: Any) -> TrainingExamples:
        (tmp_path / "file").write_bytes(data)
        return read_training_file(tmp_path / "file", **{"max_line_bytes": 10_000, **options})

    return read_bytes


def with_change(change: Callable[[Example], object], index: int = 4) -> bytes:
    """Return a good file in which one example is changed."""
    examples = make_examples()
    change(examples[index])
    return encode(examples)


def with_message(index: int, message: Any) -> bytes:
    return with_change(lambda example: example["messages"].__setitem__(index, message))


WRONG = {
    "no JSON": (
        encode(make_examples(2)) + b"Text,Positive\n",
        NO_DICTIONARY.format(3, "is no JSON (column 1)"),
    ),
    "an array": (
        json.dumps(make_examples()).encode(),
        NO_DICTIONARY.format(1, "is an array, not an object: write each example as an object on a line of its own"),
    ),
    "pretty-printed JSON": (
        json.dumps(make_examples()[0], indent=2).encode(),
        NO_DICTIONARY.format(1, "begins a value that ends on a later line: write each example on one line"),
    ),
    "prompt/completion pairs": (
        encode([{"prompt": "Text.", "completion": " Positive"}]),
        "Invalid file format. Line 1 is in the prompt-completion format, but the model is chat-formatted and requires "
        'chat-formatted data: {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}',
    ),
    "no messages": (
        with_change(lambda example: example.clear()),
        "Invalid file format. Line 5 Unexpected file format, expected chat messages: the key 'messages' is missing",
    ),
    "messages is no list": (
        with_change(lambda example: example.update(messages={})),
        "Invalid file format. Example 5 'messages' should be a list of messages",
    ),
    "a message is no object": (
        with_message(0, "You are kind."),
        "Invalid file format. Example 5, message 1 should be an object with a role and a content",
    ),
    "missing role": (
        with_message(1, {"content": "Text."}),
        "Invalid file format. Example 5, message 2 Discriminator 'role' is missing in value",
    ),
    "unknown role": (
        with_message(1, {"role": "human", "content": "Text."}),
        "Invalid file format. Example 5, message 2 No match for discriminator 'role' and value 'human' "
        "(allowed values: 'system', 'developer', 'user', 'assistant')",
    ),
    "no assistant answer": (
        with_change(lambda example: example["messages"].pop()),
        "Invalid file format. Example 5 Last message must be from the assistant",
    ),
    "the answer is not last": (
        with_change(lambda example: example["messages"].reverse()),
        "Invalid file format. Example 5 Last message must be from the assistant",
    ),
    "no user message": (
        with_change(lambda example: example["messages"].pop(1)),
        "Invalid file format. Example 5 has no message from the user",
    ),
    "content null": (
        with_message(2, {"role": "assistant", "content": None}),
        "Invalid file format. Example 5, message 3 'content' should be a valid string",
    ),
    "content is not text": (
        with_message(1, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}),
        "Invalid file format. Example 5, message 2 'content' should be a valid string",
    ),
    "content blank": (
        with_message(1, {"role": "user", "content": " "}),
        "Invalid file format. Example 5, message 2 'content' should not be empty",
    ),
    "extra key of an example": (
        with_change(lambda example: example.update(id=5)),
        "Invalid file format. Example 5 'id' Extra inputs are not permitted",
    ),
    "extra key of a message": (
        with_message(1, {"role": "user", "content": "Text.", "time": 1}),
        "Invalid file format. Example 5, message 2 'time' Extra inputs are not permitted",
    ),
    "a tool call": (
        with_message(2, {"role": "assistant", "content": "Positive", "tool_calls": [{}]}),
        "Invalid file format. Example 5, message 3 'tool_calls' Extra inputs are not permitted",
    ),
    "a weight of another number": (
        with_message(2, {"role": "assistant", "content": "Positive", "weight": 0.5}),
        "Invalid file format. Example 5, message 3 'weight' should be 0 or 1, in a message from the assistant",
    ),
    "not UTF-8": (
        encode(make_examples(1)) + '{"messages": "é"}'.encode("latin-1"),
        "Invalid file format. Line 2 is not UTF-8 (byte 14 is 0xe9): save the file as UTF-8.",
    ),
    "UTF-16": (
        encode(make_examples()).decode().encode("utf-16"),
        "Invalid file format. Line 1 shows that the file is UTF-16: upload plain UTF-8.",
    ),
    "compressed": (
        gzip.compress(encode(make_examples())),
        "Invalid file format. Line 1 shows that the file is compressed with gzip: upload plain UTF-8.",
    ),
    "a line that is too long": (
        encode([*make_examples(), make_example("x" * 10_000, "Positive")]),
        "Invalid file format. Line 13 is longer than 10000 bytes.",
    ),
    "one label": (
        encode([make_example(f"Text {number}.", "Positive") for number in range(12)]),
        "Every answer is 'Positive': a classification needs two or more different answers.",
    ),
    "nearly every answer different": (
        encode([make_example(f"Text {number}.", f"Answer {number // 2 if number else 99}.") for number in range(12)]),
        "12 examples have 7 different answers: this is no classification. Answer each example with one of 2 to 1000 "
        "labels, and each label in several examples.",
    ),
    "two labels under two system messages": (
        encode([*make_examples(), make_example("text  1.", "No", system="Is this about money?")]),
        "Invalid file format. Example 13 has the text of example 2 with another answer under another system message. "
        "A model gives a text one answer: make a file and a job for each system message.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_in_the_hosted_wording(name: str, read: Callable[..., TrainingExamples]) -> None:
    data, message = WRONG[name]
    with pytest.raises(InvalidTrainingFile) as refused:
        read(data)
    found = (refused.value.code, refused.value.message, refused.value.param)
    assert found == ("invalid_training_file", PREFIX + message, "training_file")


def test_a_line_that_is_nested_too_deeply_is_refused(read: Callable[..., TrainingExamples]) -> None:
    with pytest.raises(InvalidTrainingFile, match="Line 1 is not a dictionary: it is no JSON"):
        read(b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}")


@pytest.mark.parametrize("count", [0, 3, 9])
def test_a_file_of_fewer_than_ten_examples_is_refused(count: int, read: Callable[..., TrainingExamples]) -> None:
    with pytest.raises(InvalidTrainingFile) as refused:
        read(encode(make_examples(count)))
    message = f"Training file has {count} example(s), but must have at least 10 examples"
    assert (refused.value.code, refused.value.message) == ("invalid_n_examples", message)


def test_ten_examples_are_enough(read: Callable[..., TrainingExamples]) -> None:
    examples = read(encode(make_examples(10)))
    assert (len(examples.texts), set(examples.labels), examples.warnings) == (10, set(LABELS), [])
    assert examples.system_messages == {SYSTEM: 10} and examples.num_without_system == 0
    assert 10 * 20 < examples.num_tokens < 10 * 40


def test_only_lf_ends_a_line(read: Callable[..., TrainingExamples]) -> None:
    text = "one\u2028two\u2029three\x85four\x0b"
    data = encode([make_example(f"{text} {number}", LABELS[number % 3]) for number in range(10)])
    assert text.encode() in data.replace(b"\\u000b", b"\x0b")
    examples = read(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n") + b"\n \n")
    assert examples.texts == [f"{text} {number}" for number in range(10)]


def test_labels_are_spelt_as_most_often_in_the_file(read: Callable[..., TrainingExamples]) -> None:
    answers = ["Positive", "positive ", "Positive", "NEGATIVE"] * 3
    examples = read(encode([make_example(f"Text {number}.", answer) for number, answer in enumerate(answers)]))
    assert examples.labels == ["Positive", "Positive", "Positive", "NEGATIVE"] * 3
    assert examples.warnings == ["The answer 'Positive' is written in several ways ('Positive', 'positive')."]


def test_a_conversation_is_read_from_its_last_user_message(read: Callable[..., TrainingExamples]) -> None:
    turns = [
        {"role": "developer", "content": SYSTEM},
        {"role": "user", "content": "Hello.", "name": "Ann"},
        {"role": "assistant", "content": "Hi.", "weight": 0},
        {"role": "user", "content": [{"type": "text", "text": "I love"}, {"type": "text", "text": "it."}]},
        {"role": "assistant", "content": "Positive", "weight": 1, "refusal": None},
    ]
    not_learned = make_example("Unclear.", "Negative")
    not_learned["messages"][-1]["weight"] = 0
    examples = read(encode([{"messages": turns}, *make_examples(), not_learned]))
    assert (examples.texts[0], examples.labels[0], len(examples.texts)) == ("I love\nit.", "Positive", 13)
    assert examples.warnings == [
        "1 examples have earlier turns, which are not read: the last user message is the text.",
        "1 answers have weight 0, so they are not learned from.",
    ]


def test_contradicting_examples_and_several_system_messages_are_warned_about(
    read: Callable[..., TrainingExamples],
) -> None:
    other = make_example("Another.", "Neutral", system="Say the sentiment.")
    examples = read(encode([*make_examples(), make_example("Text 1.", "Positive"), other]))
    assert examples.warnings == [
        "1 texts come again with another answer; none of them is learned from.",
        "2 different system messages: the model does not read them.",
    ]


def test_a_validation_file_has_other_texts_and_no_other_labels(read: Callable[..., TrainingExamples]) -> None:
    train = read(encode(make_examples()))
    good = read(encode([make_example("New.", "positive")]), param=VALIDATION)
    check_against_validation(train, good)
    shared = read(encode([make_example("New.", "Positive"), make_example("TEXT 3. ", "Positive")]), param=VALIDATION)
    unknown = read(encode([make_example("New.", "Mixed")]), param=VALIDATION)
    with pytest.raises(InvalidTrainingFile, match="1 of its texts stand in the training file too"):
        check_against_validation(train, shared)
    with pytest.raises(InvalidTrainingFile, match="The answer of example 1 is none of the training file's"):
        check_against_validation(train, unknown)
    with pytest.raises(InvalidTrainingFile, match="Validation file has 0 example") as refused:
        read(b"", param=VALIDATION)
    assert refused.value.param == VALIDATION
    with pytest.raises(
        InvalidTrainingFile, match="The job failed due to an invalid validation file. Expected"
    ) as refused:
        read(b"x", param=VALIDATION)
    assert refused.value.code == "invalid_validation_file"
