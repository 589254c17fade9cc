"""Reads a training file of chats as texts with labels, or says what is wrong with it as a hosted API does.

Of an example the last user message is the text, and the last message, which is the assistant's, is the label. Earlier
turns are not read. Labels that differ in case alone are one label, in the spelling that is the most frequent.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sentiment_ray.data.chat_costs import CHARACTERS_PER_TOKEN, MIN_EXAMPLES, TOKENS_PER_EXAMPLE, TOKENS_PER_MESSAGE
from sentiment_ray.data.hashing import normalise
from sentiment_ray.openai_api.chat_messages import ChatExample, InvalidExampleError, read_example
from sentiment_ray.openai_api.json_lines import InvalidLineError, parse_object, read_lines

MAX_LABELS = 1000
MIN_EXAMPLES_PER_LABEL = 2
"""With fewer examples for each different answer on average, the answers are no labels."""
TRAINING, VALIDATION = "training_file", "validation_file"


class InvalidTrainingFile(Exception):  # noqa: N818 it is what a job's error is made of
    """A file that cannot be learned from; `code`, `message` and `param` are those of the job's error."""

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


@dataclass
class TrainingExamples:
    """The examples of a file, in its order."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """The answer of each text, in one spelling for each label."""
    system_messages: Counter[str] = field(default_factory=Counter)
    """How many examples have each system message."""
    num_without_system: int = 0
    num_tokens: int = 0
    """An estimate, with the markers of messages that a hosted API counts too."""
    warnings: list[str] = field(default_factory=list)


def read_training_file(path: Path, *, max_line_bytes: int, param: str = TRAINING) -> TrainingExamples:
    """Return the examples of a file; InvalidTrainingFile when it is wrong. `param` is the field that names the file."""
    reader = _Reader()
    try:
        for number, line in read_lines(path, max_line_bytes=max_line_bytes):
            reader.add(number, parse_object(number, line))
    except InvalidLineError as error:
        raise _refuse(param, _describe_line(error)) from None
    except InvalidExampleError as error:
        raise _refuse(param, f"Invalid file format. {error}") from None
    examples = reader.finish()
    _check_number(reader.num_read, param)
    if param == TRAINING:
        _check_labels(examples.labels)
    return examples


def check_against_validation(train: TrainingExamples, validation: TrainingExamples) -> None:
    """Compare the examples of both files; InvalidTrainingFile when a text stands in both, or a label in one alone."""
    known = {_hash_text(text) for text in train.texts}
    shared = [number for number, text in enumerate(validation.texts, start=1) if _hash_text(text) in known]
    if shared:
        message = (
            f"{len(shared)} of its texts stand in the training file too, such as that of example {shared[0]}. A model "
            "is measured on texts that it has not seen: take them out of one of the files."
        )
        raise _refuse(VALIDATION, message)
    labels = {_fold(label) for label in train.labels}
    for number, label in enumerate(validation.labels, start=1):
        if _fold(label) not in labels:
            raise _refuse(VALIDATION, f"The answer of example {number} is none of the training file's answers.")


class _Reader:
    """Collects examples, and what becomes known only at the end of the file."""

    def __init__(self) -> None:
        self.num_read = 0
        self._examples = TrainingExamples()
        self._spellings: dict[str, Counter[str]] = defaultdict(Counter)
        self._first: dict[bytes, tuple[int, str, str]] = {}
        """For each text the number, the label and the system message of the first example that has it."""
        self._num_conflicts = self._num_with_turns = self._num_without_weight = 0

    def add(self, line_number: int, value: dict[str, Any]) -> None:
        """Add an example; InvalidExampleError names it by its number."""
        self.num_read += 1
        example = read_example(self.num_read, line_number, value)
        self._examples.num_tokens += _estimate_tokens(example)
        if example.has_no_weight:
            self._num_without_weight += 1
            return
        self._num_with_turns += example.has_earlier_turns
        self._compare(example)
        self._examples.texts.append(example.text)
        self._examples.labels.append(example.answer)
        self._spellings[_fold(example.answer)][example.answer] += 1
        if example.system:
            self._examples.system_messages[example.system] += 1
        else:
            self._examples.num_without_system += 1

    def finish(self) -> TrainingExamples:
        """Return the examples, each label in one spelling."""
        examples = self._examples
        chosen = {key: spellings.most_common(1)[0][0] for key, spellings in self._spellings.items()}
        examples.labels = [chosen[_fold(label)] for label in examples.labels]
        for key, spellings in sorted(self._spellings.items()):
            if len(spellings) > 1:
                written = ", ".join(f"'{spelling}'" for spelling, _ in spellings.most_common(5))
                examples.warnings.append(f"The answer '{chosen[key]}' is written in several ways ({written}).")
        counted = {
            "examples have earlier turns, which are not read: the last user message is the text.": self._num_with_turns,
            "answers have weight 0, so they are not learned from.": self._num_without_weight,
            "texts come again with another answer; none of them is learned from.": self._num_conflicts,
        }
        examples.warnings += [f"{count} {what}" for what, count in counted.items() if count]
        if len(examples.system_messages) > 1:
            count = len(examples.system_messages)
            examples.warnings.append(f"{count} different system messages: the model does not read them.")
        return examples

    def _compare(self, example: ChatExample) -> None:
        """Compare an example with the first one that has its text."""
        label = _fold(example.answer)
        this = (self.num_read, label, example.system)
        number, first_label, first_system = self._first.setdefault(_hash_text(example.text), this)
        if first_label == label:
            return
        if first_system != example.system:
            raise InvalidExampleError(
                f"Example {self.num_read} has the text of example {number} with another answer under another system "
                "message. A model gives a text one answer: make a file and a job for each system message."
            )
        self._num_conflicts += 1


def _check_number(num_examples: int, param: str) -> None:
    minimum = MIN_EXAMPLES if param == TRAINING else 1
    if num_examples < minimum:
        name = param.replace("_", " ").capitalize()
        examples = "examples" if minimum > 1 else "example"
        message = f"{name} has {num_examples} example(s), but must have at least {minimum} {examples}"
        raise InvalidTrainingFile("invalid_n_examples", message, param)


def _check_labels(labels: list[str]) -> None:
    num_labels = len(set(labels))
    if num_labels < 2:
        answers = f"Every answer is '{labels[0]}'" if labels else "Every answer has weight 0"
        raise _refuse(TRAINING, f"{answers}: a classification needs two or more different answers.")
    if num_labels > MAX_LABELS or num_labels * MIN_EXAMPLES_PER_LABEL > len(labels):
        message = (
            f"{len(labels)} examples have {num_labels} different answers: this is no classification. Answer each "
            f"example with one of 2 to {MAX_LABELS} labels, and each label in several examples."
        )
        raise _refuse(TRAINING, message)


def _refuse(param: str, message: str) -> InvalidTrainingFile:
    name = param.replace("_", " ")
    return InvalidTrainingFile(f"invalid_{param}", f"The job failed due to an invalid {name}. {message}", param)


def _describe_line(error: InvalidLineError) -> str:
    if error.is_encoding or error.reason.startswith("is longer"):
        return f"Invalid file format. Line {error.number} {error.reason}."
    return (
        "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
        f"Line {error.number} is not a dictionary: it {error.reason}."
    )


def _estimate_tokens(example: ChatExample) -> int:
    num_letters = sum(map(len, (example.system, example.text, example.answer)))
    num_messages = 2 + bool(example.system)
    return -(-num_letters // CHARACTERS_PER_TOKEN) + TOKENS_PER_EXAMPLE + TOKENS_PER_MESSAGE * num_messages


def _fold(label: str) -> str:
    """Return the form in which labels are compared."""
    return label.casefold()


def _hash_text(text: str) -> bytes:
    return blake2b(normalise(text).encode(), digest_size=16).digest()
