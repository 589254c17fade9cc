"""The behaviour suite: short sentences whose label nobody doubts, by capability; knows no models.

It follows CheckList (Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", 2020,
https://arxiv.org/abs/2005.04118). Most capabilities are minimum functionality tests, which expect a label. Swapped
names are invariance tests, which expect one label for all names. The templates and words are this project's own.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import product
from string import Formatter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.labels import label2id

SUITE = "behaviour.toml"
LEFT_OUT = -1
"""Stands for the expected label of a case that the labels of a bundle do not have."""


@dataclass(frozen=True)
class Case:
    """A text and the label that it must get: `expected`, or, where that is None, the label of most of its `group`."""

    capability: str
    text: str
    expected: str | None
    group: str | None


def load_cases() -> tuple[Case, ...]:
    """Return all cases of the suite, always in the same order."""
    document = tomllib.loads(resources.files("sentiment_ray.inference").joinpath(SUITE).read_text(encoding="utf-8"))
    return tuple(case for block in document["blocks"] for case in _fill_templates(block, document["words"]))


def count_passed_cases(cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    """Return how many cases passed, ready for JSON: `cases`, `passed`, `share`, `left_out` and `by_capability`.

    `label_ids` is int64 `(cases,)`: the bundle's answers as indices of `labels`. A case whose expected label is not
    among `labels` counts only in `left_out`; a capability with no other cases is not in `by_capability`. The share of
    no cases is None.

    A case of a group passes when it has the label that most cases of its group have; in a tie, the label that comes
    first. So a name that changes the label costs one case, not the whole group. Whether that label is right is not
    tested.
    """
    expected_ids = _expected_ids(cases, label_ids, labels)
    counted, passed = expected_ids != LEFT_OUT, expected_ids == label_ids
    capabilities = np.array([case.capability for case in cases], dtype=object)
    return {
        **_count(counted, passed),
        "left_out": int(len(cases) - counted.sum()),
        "by_capability": {
            name: _count(counted & (capabilities == name), passed & (capabilities == name))
            for name in dict.fromkeys(capabilities[counted])
        },
    }


def failed_cases(cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the cases that failed, in order: `capability`, `text`, `expected` and `predicted` labels, `group`.

    The arguments are those of `count_passed_cases`. In a group, `expected` is the label that most of its cases have.
    """
    return [
        {
            "capability": case.capability,
            "text": case.text,
            "expected": labels[expected_id],
            "predicted": labels[label_id],
            "group": case.group,
        }
        for case, expected_id, label_id in zip(cases, _expected_ids(cases, label_ids, labels), label_ids, strict=True)
        if expected_id not in (LEFT_OUT, label_id)
    ]


def _fill_templates(block: dict[str, Any], shared_words: dict[str, list[str]]) -> Iterator[Case]:
    """Yield the cases of a block: every template with every choice of words.

    The texts that differ only in the swapped word are a group, named by the text with the word's slot left open.
    """
    words = shared_words | block.get("words", {})
    swap = block.get("swap")
    for template in block["templates"]:
        slots = list(dict.fromkeys(slot for _, slot, _, _ in Formatter().parse(template) if slot))
        for choice in product(*(words[slot] for slot in slots)):
            chosen = dict(zip(slots, choice, strict=True))
            text = template.format(**chosen)
            group = template.format(**chosen | {swap: f"{{{swap}}}"}) if swap else None
            yield Case(block["capability"], text[0].upper() + text[1:], block.get("expected"), group)


def _expected_ids(cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 `(cases,)`: the id of the label that each case must get, or LEFT_OUT where `labels` lack it."""
    answers_by_group: dict[str | None, Counter[int]] = {}
    for case, label_id in zip(cases, label_ids, strict=True):
        answers_by_group.setdefault(case.group, Counter())[int(label_id)] += 1
    ids = label2id(labels)
    return np.array(
        [
            ids.get(case.expected, LEFT_OUT) if case.expected else answers_by_group[case.group].most_common(1)[0][0]
            for case in cases
        ],
        dtype=np.int64,
    )


def _count(counted: NDArray[np.bool_], passed: NDArray[np.bool_]) -> dict[str, Any]:
    num_cases, num_passed = int(counted.sum()), int(passed.sum())
    return {"cases": num_cases, "passed": num_passed, "share": num_passed / num_cases if num_cases else None}
