"""The contract of Vertex AI as text-embeddings-inference serves it: `{instances}` are answered with `{predictions}`.

Source: `vertex_compatibility` in
https://github.com/huggingface/text-embeddings-inference/blob/v1.9.3/router/src/http/server.rs.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from sentiment_ray.serve.contracts.inputs import Inputs, Ranking, rank_labels, read_inputs
from sentiment_ray.serve.http import Refusal, Request, Response, make_json_response
from sentiment_ray.serve.json_body import describe, read_json_object
from sentiment_ray.serve.operation import JSON, Operation, refer
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.scoring import check_texts, score_texts
from sentiment_ray.serve.service import Service


async def predict(request: Request, service: Service) -> Response:
    """Classify the texts of every instance, which has the keys of `POST /predict`."""
    instances = _read_instances(read_json_object(request.headers, request.body))
    check_texts(_join(instances), service.config.max_texts, _make_namer(instances))
    predictions: dict[int, Ranking | list[Ranking]] = {}
    for truncate in (False, True):
        group = {index: inputs for index, inputs in enumerate(instances) if inputs.truncate is truncate}
        if not group:
            continue
        members = list(group.values())
        scored = await score_texts(request, service, _join(members), truncate=truncate, name_text=_make_namer(members))
        are_raw = np.repeat([inputs.raw_scores for inputs in members], [len(inputs.texts) for inputs in members])
        values = np.where(are_raw[:, None], scored.scores.logits, scored.scores.probabilities)
        rankings = iter(rank_labels(scored, values))
        for index, inputs in group.items():
            own = list(islice(rankings, len(inputs.texts)))
            predictions[index] = own[0] if inputs.is_single else own
    return make_json_response({"predictions": [predictions[index] for index in range(len(instances))]})


def _read_instances(values: Mapping[str, Any]) -> list[Inputs]:
    instances = values.get("instances")
    if not isinstance(instances, list):
        found = "missing" if "instances" not in values else describe(instances)
        raise Refusal(422, f'instances is {found}. Send {{"instances": [{{"inputs": "a text"}}]}}.')
    if not instances:
        raise Refusal(400, "instances is empty: send one or more.", "Empty")
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise Refusal(422, f'instances[{index}] is {describe(instance)}. Send {{"inputs": "a text"}}.')
    return [read_inputs(instance, f"instances[{index}].") for index, instance in enumerate(instances)]


def _join(instances: Sequence[Inputs]) -> list[str]:
    return [text for inputs in instances for text in inputs.texts]


def _make_namer(instances: Sequence[Inputs]) -> Callable[[int], str]:
    """Return a function that says what the client calls a text, from its index among the texts of all instances."""

    def name_text(index: int) -> str:
        for inputs in instances:
            if index < len(inputs.texts):
                return inputs.name_text(index)
            index -= len(inputs.texts)
        raise IndexError

    return name_text


ROUTES = (
    Route(
        "POST",
        "/vertex",
        predict,
        Operation(
            "vertex",
            "Classify the texts of every instance, for Vertex AI.",
            "Vertex AI",
            answer={JSON: refer("VertexResponse")},
            request={JSON: refer("VertexRequest")},
            scores=True,
        ),
    ),
)
