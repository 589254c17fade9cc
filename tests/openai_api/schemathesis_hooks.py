"""Tells Schemathesis what no JSON schema can say of a good request: a chat has a message of the user, for example.

Only a value that may be as it is on its own is replaced, so a bad request stays a bad request.
"""

from collections.abc import Callable
from typing import Any

import schemathesis

MESSAGES = [{"role": "user", "content": "I love it."}]
QUESTION = {"type": "choice", "instructions": "Which sentiment?", "choices": [{"value": "a"}, {"value": "b"}]}
Body = dict[str, Any]


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: Any) -> None:
    """Replace values that are good by the schema and that the service refuses because of their content."""
    improve = IMPROVEMENTS.get(case.operation.path)
    if improve and isinstance(case.body, dict):
        improve(case.body)


def _improve_chat(body: Body) -> None:
    if isinstance(body.get("messages"), list) and body["messages"]:
        body["messages"] = MESSAGES
    if isinstance(body.get("response_format"), dict):
        body["response_format"] = {"type": "text"}
    if body.get("modalities") and all(each in ("text", "audio") for each in body["modalities"]):
        body["modalities"] = ["text"]
    if _is_number(body.get("top_logprobs")) and body.get("logprobs") in (None, False):
        body["logprobs"] = True
    if isinstance(body.get("stream_options"), dict) and body.get("stream") in (None, False):
        body["stream"] = True


def _improve_response(body: Body) -> None:
    if "input" in body:
        body["input"] = "I love it."
    if isinstance(body.get("text"), dict) and isinstance(body["text"].get("format"), dict):
        body["text"]["format"] = {"type": "text"}
    if isinstance(body.get("stream_options"), dict) and body.get("stream") in (None, False):
        body["stream"] = True


def _improve_decision(body: Body) -> None:
    if "input" in body:
        body["input"] = "I love it."
    for question in body.get("questions") or () if isinstance(body.get("questions"), list) else ():
        if isinstance(question, dict) and isinstance(question.get("type"), str) and "instructions" in question:
            question["type"] = "choice"
            question.pop("levels", None)
            if question.setdefault("choices", None) is None:
                question["choices"] = QUESTION["choices"]
            for index, choice in enumerate(question["choices"] if isinstance(question["choices"], list) else ()):
                if isinstance(choice, dict) and "value" in choice:
                    choice["value"] = f"label {index}"


def _improve_job(body: Body) -> None:
    if isinstance(body.get("integrations"), list):
        body["integrations"] = []
    if isinstance(body.get("method"), dict) and isinstance(body["method"].get("type"), str):
        body["method"]["type"] = "supervised"
        for name in ("dpo", "reinforcement"):
            body["method"].pop(name, None)


def _improve_batch(body: Body) -> None:
    if isinstance(body.get("endpoint"), str):
        body["endpoint"] = "/v1/chat/completions"
    body.pop("output_expires_after", None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 20


IMPROVEMENTS: dict[str, Callable[[Body], None]] = {
    "/v1/chat/completions": _improve_chat,
    "/v1/responses": _improve_response,
    "/v1/decisions": _improve_decision,
    "/v1/fine_tuning/jobs": _improve_job,
    "/v1/batches": _improve_batch,
}
