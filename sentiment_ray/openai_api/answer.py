"""Turns the probabilities of a text into an answer: a word, or JSON with the word and its confidence.

The word of the label counts as one token, and so does what stands before and after it in JSON.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sentiment_ray.manifest import format_json
from sentiment_ray.openai_api.answer_format import AnswerFormat
from sentiment_ray.openai_api.model_answers import ModelAnswers, find_labels

UNLIKELY = -9999.0
"""The log probability that the API reports for 0."""


@dataclass(frozen=True)
class ScoresRow:
    """The scores of one text: a probability for each label of the model, and the tokens that the model read."""

    probabilities: Sequence[float]
    num_tokens: int


@dataclass(frozen=True)
class Answer:
    """The tokens of an answer, and the label among those that could be answered."""

    tokens: tuple[str, ...]
    label_token: int
    """The index of the label among the tokens."""
    words: tuple[str, ...]
    """The labels to choose from, as they would be answered."""
    probabilities: tuple[float, ...]
    """The probability of each of these labels; their sum is 1."""
    best: int
    """The index of the most likely one."""

    @property
    def content(self) -> str:
        """The whole answer."""
        return "".join(self.tokens)

    @property
    def confidence(self) -> float:
        """The probability of the label that is answered."""
        return self.probabilities[self.best]


def choose_answer(row: ScoresRow, model: ModelAnswers, answer_format: AnswerFormat | None) -> Answer:
    """Return the answer with the most likely label; of equal ones it is the first. ApiError for an unknown label.

    A format whose enum has only some of the labels limits the choice to these.
    """
    if answer_format is None:
        probabilities = tuple(map(float, row.probabilities))
        best = probabilities.index(max(probabilities))
        return Answer((model.labels[best],), 0, model.labels, probabilities, best)
    probabilities = limit_choice(row, find_labels(answer_format.choices, model, answer_format.param))
    best = probabilities.index(max(probabilities))
    tokens, label_token = _write_json(answer_format, best, probabilities[best])
    words = tuple(_escape(choice) for choice in answer_format.choices)
    return Answer(tokens, label_token, words, probabilities, best)


def limit_choice(row: ScoresRow, indices: Sequence[int]) -> tuple[float, ...]:
    """Return the probabilities of some labels when no other label may be chosen; their sum is 1."""
    chosen = [float(row.probabilities[index]) for index in indices]
    total = sum(chosen)
    return tuple(value / total if total else 1 / len(chosen) for value in chosen)


def make_logprobs(answer: Answer, num_top: int) -> list[dict[str, Any]]:
    """Return an entry for each token of an answer; that of the label has up to `num_top` most likely labels."""
    entries = []
    for index, token in enumerate(answer.tokens):
        if index != answer.label_token:
            entries.append({**_make_logprob(token, 1.0), "top_logprobs": [_make_logprob(token, 1.0)][:num_top]})
            continue
        pairs = sorted(zip(answer.words, answer.probabilities, strict=True), key=lambda pair: -pair[1])
        top = [_make_logprob(word, probability) for word, probability in pairs[:num_top]]
        entries.append({**_make_logprob(token, answer.confidence), "top_logprobs": top})
    return entries


def _make_logprob(token: str, probability: float) -> dict[str, Any]:
    logprob = math.log(probability) if probability > 0 else UNLIKELY
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _write_json(answer_format: AnswerFormat, best: int, confidence: float) -> tuple[tuple[str, ...], int]:
    """Return the JSON object as tokens, and which of them is the label."""
    before, after, label_field = "", "", answer_format.label_field
    for number, field in enumerate(answer_format.fields):
        start = f"{'{' if number == 0 else ','}{format_json(field, ensure_ascii=False)}:"
        if field == label_field:
            before, after = f'{after}{start}"', '"'
        else:
            after += f"{start}{format_json(min(confidence, 1.0))}"
    return (before, _escape(answer_format.choices[best]), f"{after}}}"), 1


def _escape(word: str) -> str:
    return format_json(word, ensure_ascii=False)[1:-1]
