"""Reads a request for decisions and answers it: each question is a choice among labels of the model."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from sentiment_ray.openai_api.answer import ScoresRow, limit_choice
from sentiment_ray.openai_api.messages import Conversation, read_input
from sentiment_ray.openai_api.model_answers import ModelAnswers, find_labels
from sentiment_ray.openai_api.request_body import StrictBody, invalid_type, invalid_value, read_body, unsupported
from sentiment_ray.openai_api.usage import make_usage

USE_CHOICE = "Ask a question of type 'choice' whose values are labels of the model."


class Choice(StrictBody):
    """One of the values to choose from."""

    value: Any
    description: str | None = None


class Question(StrictBody):
    """A question; its instructions are not read, as the model has learned what to answer."""

    type: str
    instructions: Any
    name: str | None = None
    choices: Annotated[list[Choice], Field(min_length=2, max_length=255)] | None = None
    levels: Any = None


class DecisionBody(StrictBody):
    """The body of a request for decisions."""

    model: Annotated[str, Field(min_length=1)]
    input: Any
    questions: Annotated[list[Question], Field(min_length=1, max_length=400)]
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None


@dataclass(frozen=True)
class DecisionRequest:
    """What is asked about a text: for each question its name and the labels to choose from."""

    model: str
    conversation: Conversation
    questions: tuple[tuple[str | None, tuple[str, ...]], ...]


def read_decision_request(body: bytes) -> DecisionRequest:
    """Return the request in a body. ApiError names the field and the fault."""
    decision = read_body(DecisionBody, body, refused={})
    questions = [_read_question(question, f"questions[{index}]") for index, question in enumerate(decision.questions)]
    return DecisionRequest(decision.model, read_input(decision.input, param="input"), tuple(questions))


def make_decision(request: DecisionRequest, row: ScoresRow, model: ModelAnswers) -> dict[str, Any]:
    """Return the body of the answer. ApiError when a value is no label of the model."""
    answers = []
    for index, (name, values) in enumerate(request.questions):
        probabilities = limit_choice(row, find_labels(values, model, f"questions[{index}].choices"))
        best = probabilities.index(max(probabilities))
        answers.append(
            {
                "type": "choice",
                "name": name,
                "choice": values[best],
                "confidence": probabilities[best],
                "probabilities": [
                    {"value": value, "probability": probability}
                    for value, probability in zip(values, probabilities, strict=True)
                ],
            }
        )
    return {"model": model.model, "answers": answers, "usage": make_usage(row.num_tokens, len(answers))}


def _read_question(question: Question, place: str) -> tuple[str | None, tuple[str, ...]]:
    if question.type != "choice":
        raise unsupported(f"{place}.type", USE_CHOICE)
    if question.choices is None or question.levels is not None:
        raise invalid_value(f"{place}.choices", "a question of type 'choice' has choices and no levels.")
    for index, choice in enumerate(question.choices):
        if isinstance(choice.value, bool):
            raise unsupported(f"{place}.choices[{index}].value", USE_CHOICE)
        if not isinstance(choice.value, str):
            raise invalid_type(f"{place}.choices[{index}].value", "a string", choice.value)
    return question.name, tuple(choice.value for choice in question.choices)
