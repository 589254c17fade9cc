"""The real Python client, in strict mode, asks a base model and a tuned one: chat, responses, decisions."""

import json
import shutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest

from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.openai_api.chat_answer import UNKNOWN_SYSTEM_MESSAGE
from tests.openai_api.running import MODEL, RunningService, run_service
from tests.openai_api.tuned_model import add_model_rows

TUNED = "ft:gpt-3.5-turbo:local:pies:abcdefgh"
TEXT = "This is a cherry pie."
SYSTEM = "Answer with one word: Positive, Negative or Neutral."
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": TEXT}]
POEM: Any = {"role": "system", "content": "A poem."}
LABELS = ["Positive", "Negative"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[RunningService]:
    """A service whose base model is the tiny encoder, exported by its command when it is first asked."""
    state = tmp_path_factory.mktemp("asked") / "state"
    with run_service(state, models={MODEL: str(tiny_encoder)}) as running:
        with running.make_client() as client:
            client.with_options(max_retries=5).chat.completions.create(model=MODEL, messages=MESSAGES)
        _add_tuned_model(running)
        yield running


def _add_tuned_model(running: RunningService) -> None:
    """Add a fine-tuned model: the base model's bundle with the system message of a training."""
    bundle = running.service.state / "jobs/tuned/bundle"
    shutil.copytree(running.service.models.base_models.find_bundle(MODEL), bundle)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["metadata"] = {"system_messages": [SYSTEM]}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    add_model_rows(running, TUNED, bundle)


@pytest.fixture
def client(service: RunningService) -> Iterator[openai.OpenAI]:
    with service.make_client() as client:
        yield client


@pytest.fixture(scope="module")
def expected(service: RunningService) -> dict[str, float]:
    """The probabilities of the text, as the bundle's own predictor has them."""
    bundle = service.service.models.base_models.find_bundle(MODEL)
    return Predictor.load(bundle).predict([TEXT])[0].probabilities


def pick(probabilities: dict[str, float]) -> str:
    return max(probabilities, key=lambda label: probabilities[label])


def test_base_and_tuned_are_asked_side_by_side(client: openai.OpenAI, expected: dict[str, float]) -> None:
    for model in (MODEL, TUNED):
        completion = client.chat.completions.create(model=model, messages=MESSAGES, n=10, temperature=0)
        assert [choice.message.content for choice in completion.choices] == [pick(expected)] * 10
        assert completion.model == model
        assert completion.usage is not None and completion.usage.prompt_tokens > 3


def test_log_probabilities_are_those_of_the_bundle(client: openai.OpenAI, expected: dict[str, float]) -> None:
    fields: dict[str, Any] = {"logprobs": True, "top_logprobs": 20}
    completion = client.chat.completions.create(model=TUNED, messages=MESSAGES, **fields)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    top = {each.token: 2.718281828459045**each.logprob for each in logprobs.content[0].top_logprobs}
    assert top == pytest.approx(expected, abs=1e-3)


def test_a_stream_gives_the_same_word(client: openai.OpenAI, expected: dict[str, float]) -> None:
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(model=TUNED, messages=MESSAGES, stream=True, stream_options=options)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == pick(expected)
    assert chunks[-1].usage is not None
    with client.chat.completions.stream(model=TUNED, messages=MESSAGES) as events:
        assert events.get_final_completion().choices[0].message.content == pick(expected)


class Label(StrEnum):
    POSITIVE = "Positive"
    NEGATIVE = "Negative"


class ByEnum(pydantic.BaseModel):
    label: Label
    confidence: float


class ByLiteral(pydantic.BaseModel):
    sentiment: Literal["positive", "negative", "neutral"]


def test_parse_gives_the_users_own_class(client: openai.OpenAI, expected: dict[str, float]) -> None:
    parsed = client.chat.completions.parse(model=TUNED, messages=MESSAGES, response_format=ByEnum)
    answer = parsed.choices[0].message.parsed
    assert answer is not None
    limited = {label: expected[label] for label in LABELS}
    assert answer.label.value == pick(limited)
    assert answer.confidence == pytest.approx(max(limited.values()) / sum(limited.values()), abs=1e-3)
    spelled = client.beta.chat.completions.parse(model=TUNED, messages=MESSAGES, response_format=ByLiteral)
    assert spelled.choices[0].message.parsed == ByLiteral(sentiment=pick(expected).lower())  # type: ignore[arg-type]


def test_an_unknown_system_message_is_answered_with_a_notice(client: openai.OpenAI) -> None:
    for model, system, notice in ((TUNED, "A poem.", True), (TUNED, SYSTEM, False), (MODEL, "A poem.", False)):
        messages: list[Any] = [{"role": "developer", "content": system}, MESSAGES[1]]
        raw = client.chat.completions.with_raw_response.create(model=model, messages=messages)
        assert raw.headers.get("x-sentiment-ray-notice") == (UNKNOWN_SYSTEM_MESSAGE if notice else None)


def test_an_unknown_system_message_may_be_refused(service: RunningService, client: openai.OpenAI) -> None:
    config = service.service.config
    service.service.config = config.model_copy(update={"unknown_system_message": "refuse"})
    try:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model=TUNED, messages=[{"role": "system", "content": "A poem."}, MESSAGES[1]]
            )
        assert caught.value.code == "unknown_system_message"
    finally:
        service.service.config = config


def test_a_response_in_its_text_form(client: openai.OpenAI, expected: dict[str, float]) -> None:
    response = client.responses.create(model=TUNED, input=TEXT, instructions=SYSTEM, temperature=0)
    assert response.output_text == pick(expected)
    parts: Any = [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]
    include: Any = ["message.output_text.logprobs"]
    again = client.responses.create(model=TUNED, input=parts, include=include, top_logprobs=3, metadata={"a": "b"})
    content: Any = again.output[0].content[0]  # type: ignore[union-attr, index]
    assert len(content.logprobs[0].top_logprobs) == 3
    assert again.metadata == {"a": "b"}
    parsed = client.responses.parse(model=TUNED, input=TEXT, text_format=ByEnum)
    assert parsed.output_parsed is not None and parsed.output_parsed.label.value in LABELS
    with client.responses.stream(model=TUNED, input=TEXT) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert deltas == [pick(expected)]
        assert stream.get_final_response().output_text == pick(expected)


def test_a_decision_has_confidence_and_probabilities(client: openai.OpenAI, expected: dict[str, float]) -> None:
    choices = [{"value": label, "description": "One of them."} for label in LABELS]
    questions: Any = [
        {"type": "choice", "name": "sentiment", "instructions": "Which?", "choices": choices},
        {"type": "choice", "instructions": "Which?", "choices": [{"value": label} for label in sorted(expected)]},
    ]
    decision = client.decisions.create(model=TUNED, input=TEXT, questions=questions)
    first, second = decision.answers
    assert first.type == second.type == "choice"
    limited = {label: expected[label] for label in LABELS}
    assert (first.name, first.choice, second.name) == ("sentiment", pick(limited), None)
    assert [each.value for each in first.probabilities] == LABELS
    assert first.confidence == pytest.approx(max(limited.values()) / sum(limited.values()), abs=1e-3)
    assert {each.value: each.probability for each in second.probabilities} == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("question", "param"),
    [
        ({"type": "predicate", "instructions": "It is good."}, "questions[0].type"),
        ({"type": "score", "instructions": "How?", "levels": [{"label": "a"}, {"label": "b"}]}, "questions[0].type"),
        ({"type": "choice", "instructions": "x", "choices": [{"value": True}, {"value": "b"}]},
         "questions[0].choices[0].value"),
        ({"type": "choice", "instructions": "x", "choices": [{"value": "Positive"}, {"value": "Pie"}]},
         "questions[0].choices"),
    ],
)  # fmt: skip
def test_a_question_that_is_no_choice_among_labels(client: openai.OpenAI, question: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.decisions.create(model=TUNED, input=TEXT, questions=[question])
    assert caught.value.param == param


@pytest.mark.parametrize("field", ["tools", "previous_response_id", "background", "conversation"])
def test_a_response_refuses_what_is_not_offered(service: RunningService, field: str) -> None:
    answer = service.ask("POST", "/v1/responses", {"model": TUNED, "input": TEXT, field: "x"})
    assert answer.status == 400
    assert answer.error["param"] == field


def test_another_projects_model_is_not_found(service: RunningService) -> None:
    with service.make_client(service.make_key("another")) as stranger, pytest.raises(openai.NotFoundError) as caught:
        stranger.chat.completions.create(model=TUNED, messages=MESSAGES)
    assert caught.value.code == "model_not_found"


def test_the_model_asked_longest_ago_leaves_the_memory(service: RunningService, client: openai.OpenAI) -> None:
    models = service.service.models
    models.config = models.config.model_copy(update={"max_loaded_models": 1})
    try:
        for model in (MODEL, TUNED, MODEL):
            client.chat.completions.create(model=model, messages=MESSAGES)
            assert [loaded.answers.model for loaded in models._loaded.values()] == [model]
    finally:
        models.config = service.service.config


def test_a_base_model_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    with run_service(tmp_path / "state", models={"m": str(tmp_path / "missing")}) as running:
        answer = running.ask("POST", "/v1/chat/completions", {"model": "m", "messages": MESSAGES})
        assert (answer.status, answer.headers["x-should-retry"]) == (500, "false")
        assert "could not be exported" in answer.error["message"]
