"""What the contracts with a key `inputs` share: texts, flags, and labels in the order of their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sentiment_ray.serve.http import Refusal
from sentiment_ray.serve.json_body import describe

Ranking = list[dict[str, str | float]]
"""Labels with their scores, the best first: `{label, score}` each."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The texts of a request, and what the client calls them."""

    texts: list[str]
    is_single: bool
    """Whether `inputs` was one string, which is answered with a flat list."""
    key: str = "inputs"

    def name_text(self, index: int) -> str:
        """Return what the client calls one text, such as `inputs[3]`."""
        return self.key if self.is_single else f"{self.key}[{index}]"


def read_inputs(values: Mapping[str, Any], key: str = "inputs") -> Inputs:
    """Return the texts of `inputs`: one, a list of texts, or a list of lists of one text each.

    `key` is what messages call it. Refusal with 422 when it holds pairs, or anything but texts.
    """
    inputs = values.get("inputs")
    if isinstance(inputs, str):
        return Inputs([inputs], is_single=True, key=key)
    if inputs is None:
        raise Refusal(422, f"{key} is missing or null. Send one text or a list of texts.")
    if not isinstance(inputs, list):
        raise Refusal(422, f"{key} is {describe(inputs)}, not a text.")
    if not inputs:
        raise Refusal(400, f"{key} is empty: send one text or more.", "Empty")
    texts = [_read_text(item, key, index) for index, item in enumerate(inputs)]
    return Inputs(texts, is_single=False, key=key)


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


def read_flag(values: Mapping[str, Any], key: str, *, default: bool) -> bool:
    """Return a flag; null stands for its default. Refusal with 422 for anything but true, false and null."""
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise Refusal(422, f"{key} is {describe(value)}. Send true, false or null.")
    return default if value is None else value


def rank_labels(values: NDArray[Any], labels: tuple[str, ...], top_k: int | None = None) -> list[Ranking]:
    """Return for each row of values `(texts, labels)` the labels with their values, the greatest value first.

    Labels with equal values stay in the order of the bundle. `top_k` leaves out all but the first.
    """
    order = range(len(labels))
    return [
        [
            {"label": labels[index], "score": row[index]}
            for index in sorted(order, key=lambda index: -row[index])[:top_k]
        ]
        for row in values.tolist()
    ]
