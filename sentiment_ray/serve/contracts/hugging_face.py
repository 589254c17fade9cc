"""What the text classification of Hugging Face's clients sends and expects.

Sources: `InferenceClient.text_classification` of huggingface_hub and `textClassification` of @huggingface/inference,
and https://huggingface.co/docs/inference-providers/tasks/text-classification. Both post to the URL that they are given
and read the first element of the answer, so one text is answered with a list in a list.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.bundle.files import quote
from sentiment_ray.inference.scoring import Scores
from sentiment_ray.serve.contracts.inputs import Inputs, Ranking, rank_labels
from sentiment_ray.serve.http import Refusal
from sentiment_ray.serve.json_body import describe, read_integer
from sentiment_ray.serve.scoring import Scored

JAVASCRIPT_CLIENT = "@huggingface/inference/"
"""How the User-Agent of the JavaScript client begins. It sends `parameters` only when its caller gives some."""
FUNCTIONS = ("softmax", "sigmoid", "none")
"""Values of `function_to_apply`."""


def is_hugging_face_request(values: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Return whether a client of Hugging Face sent a request."""
    return values.get("parameters") is not None or headers.get("user-agent", "").startswith(JAVASCRIPT_CLIENT)


def read_parameters(values: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Return `top_k` and `function_to_apply`, None where the client leaves the choice to the service.

    Refusal with 422 when one of them has another value than it may have. Other parameters are ignored.
    """
    parameters = values.get("parameters")
    if parameters is None:
        return None, None
    if not isinstance(parameters, dict):
        raise Refusal(422, f"parameters is {describe(parameters)}, not an object.")
    top_k = None
    if parameters.get("top_k") is not None:
        top_k = read_integer(parameters["top_k"])
        if top_k is None or top_k < 1:
            found = quote(parameters["top_k"])
            raise Refusal(422, f"parameters.top_k is {found}. Send the number of labels, from 1 on, or null.")
    function = parameters.get("function_to_apply")
    if function is not None and function not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise Refusal(422, f"parameters.function_to_apply is {quote(function)}. Send one of {known}, or null.")
    return top_k, function


def rank(scored: Scored, inputs: Inputs, top_k: int | None, function: str | None) -> list[Ranking]:
    """Return the answer: for each text the best labels, with the function applied to their logits."""
    return rank_labels(scored, _apply(scored.scores, function or ("none" if inputs.raw_scores else "softmax")), top_k)


def _apply(scores: Scores, function: str) -> NDArray[np.float32]:
    if function == "none":
        return scores.logits
    if function == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-scores.logits)), dtype=np.float32)
    return scores.probabilities
