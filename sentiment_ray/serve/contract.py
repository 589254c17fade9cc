"""The form of requests, answers and errors: text-embeddings-inference's classification contract; knows no HTTP server.

`{"inputs": …}` takes one string, which gives a flat list of {label, score}, best first; `[["a"], ["b"]]` and
`["a", "b"]` give a list of such lists. A flat list is a batch: sentiment has no text pairs.
"""

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from sentiment_ray.inference.predictor import Scores

Answer = list[dict[str, str | float]]


class PredictRequest(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str | list[str] | list[list[str]]
    """One text, texts, or one-element lists of texts."""
    raw_scores: bool = False
    """Return logits instead of probabilities."""
    truncate: bool = True
    """Cut texts as the bundle says. If false, a text that would be cut is answered with 413."""


class Refusal(Exception):
    """A request that is answered with an error of the contract: a status, a message and a type."""

    def __init__(self, status: int, message: str, error_type: str) -> None:
        super().__init__(message)
        self.response = JSONResponse({"error": message, "error_type": error_type}, status_code=status)


def read_texts(inputs: str | list[str] | list[list[str]], *, max_texts: int) -> list[str]:
    """Return the texts of a request; Refusal when there are none, too many, or pairs."""
    items = [inputs] if isinstance(inputs, str) else inputs
    if not items:
        raise Refusal(422, "inputs is empty: send one text or more.", "Empty")
    if len(items) > max_texts:
        raise Refusal(422, f"inputs holds {len(items)} texts; at most {max_texts} may be sent at once.", "Validation")
    if any(isinstance(item, list) and len(item) != 1 for item in items):
        raise Refusal(422, "A list inside inputs holds exactly one text: sentiment has no text pairs.", "Validation")
    return [item[0] if isinstance(item, list) else item for item in items]


def rank_labels(scores: Scores, labels: tuple[str, ...], *, raw_scores: bool) -> list[Answer]:
    """Return for each text every label with its probability, or its logit, the likeliest label first."""
    values = scores.logits if raw_scores else scores.probabilities
    return [
        [{"label": labels[index], "score": float(row[index])} for index in (-row).argsort(kind="stable")]
        for row in values
    ]
