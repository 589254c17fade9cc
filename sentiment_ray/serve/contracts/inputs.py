"""What the contracts with a key `inputs` share: texts, flags, and labels in the order of their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sentiment_ray.bundle.files import quote
from sentiment_ray.serve.http import Refusal
from sentiment_ray.serve.json_body import describe
from sentiment_ray.serve.scoring import Scored

Ranking = list[dict[str, str | float]]
"""Labels with their scores, the best first: `{label, score}` each."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The texts of a request, and how they are to be scored."""

    texts: list[str]
    is_single: bool
    """Whether `inputs` was one string."""
    raw_scores: bool
    """Return logits instead of probabilities."""
    truncate: bool
    """Cut texts as the bundle says. If false, a text that would be cut is refused."""
    key: str
    """What the client calls `inputs`."""

    def name_text(self, index: int) -> str:
        """Return what the client calls one text, such as `inputs[3]`."""
        return self.key if self.is_single else f"{self.key}[{index}]"


def read_inputs(values: Mapping[str, Any], prefix: str = "") -> Inputs:
    """Return what a request asks for; keys that no contract knows are ignored.

    `inputs` is one text, a list of texts, or a list of lists of one text each. Messages write `prefix` before a key.
    Refusal: 422 when a key has another value than it may have, 400 when there is no text.
    """
    direction = values.get("truncation_direction")
    if direction not in ("Right", "right", None):
        raise Refusal(
            422,
            f"{prefix}truncation_direction is {quote(direction)}, which is not supported: texts are cut as the bundle "
            "says. Leave it out, or send 'Right'.",
        )
    inputs, key = values.get("inputs"), f"{prefix}inputs"
    return Inputs(
        texts=[inputs] if isinstance(inputs, str) else _read_texts(inputs, key),
        is_single=isinstance(inputs, str),
        raw_scores=_read_flag(values, "raw_scores", prefix, default=False),
        truncate=_read_flag(values, "truncate", prefix, default=True),
        key=key,
    )


def _read_texts(inputs: Any, key: str) -> list[str]:
    if inputs is None:
        raise Refusal(422, f"{key} is missing or null. Send one text or a list of texts.")
    if not isinstance(inputs, list):
        raise Refusal(422, f"{key} is {describe(inputs)}, not a text.")
    if not inputs:
        raise Refusal(400, f"{key} is empty: send one text or more.", "Empty")
    return [_read_text(item, key, index) for index, item in enumerate(inputs)]


def _read_text(item: Any, key: str, index: int) -> str:
    if isinstance(item, str):
        return item
    name = f"{key}[{index}]"
    if isinstance(item, list):
        if len(item) != 1:
            raise Refusal(
                422,
                f"{name} is a list of {len(item)}. A list inside inputs holds exactly one text: sentiment has no text "
                "pairs.",
            )
        item, name = item[0], f"{name}[0]"
    if not isinstance(item, str):
        raise Refusal(422, f"{name} is {describe(item)}, not a text.")
    return item


def _read_flag(values: Mapping[str, Any], key: str, prefix: str, *, default: bool) -> bool:
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise Refusal(422, f"{prefix}{key} is {describe(value)}. Send true, false or null.")
    return default if value is None else value


def rank_labels(scored: Scored, values: NDArray[Any], top_k: int | None = None) -> list[Ranking]:
    """Return for each text the labels with their values `(texts, labels)`, the likeliest first.

    The logits decide the order, so the first label is the text's label even where two values are equal. `top_k` leaves
    out all labels but the first.
    """
    rankings = []
    for row, logits in zip(values.tolist(), scored.scores.logits.tolist(), strict=True):
        order = sorted(range(len(row)), key=logits.__getitem__, reverse=True)  # stable: equal logits keep their order
        rankings.append([{"label": scored.labels[index], "score": row[index]} for index in order[:top_k]])
    return rankings
