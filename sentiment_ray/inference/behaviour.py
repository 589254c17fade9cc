"""Short sentences that a person labels without doubt, by capability, and which of them pass; knows no models.

In the spirit of CheckList (Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", 2020,
https://arxiv.org/abs/2005.04118): most capabilities are minimum functionality tests, which expect a label; the swaps of
names are invariance tests, which expect the same label for all names. Templates and words are this project's own.
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


@dataclass(frozen=True)
class Case:
    """A text and what its label must be: `expected`, or where that is None, the one of the others in its `group`."""

    capability: str
    text: str
    expected: str | None
    group: str | None


def load_cases() -> tuple[Case, ...]:
    """Return every case of the suite, always the same ones in the same order."""
    document = tomllib.loads(resources.files("sentiment_ray.inference").joinpath(SUITE).read_text(encoding="utf-8"))
    return tuple(case for block in document["blocks"] for case in _cases_of(block, document["words"]))


def results_of(cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    """Return how many cases passed, ready for JSON: `cases`, `passed`, `share`, `left_out` and `by_capability`.

    `label_ids`: int64 `(cases,)`, the places in `labels` of what a bundle answered. A case whose expected label is not
    among `labels` counts in `left_out` alone, and a capability without other cases is not in `by_capability`. A share
    of no cases is None.

    A case of a group passes when it has the label that most of its group have (of equally many, the one met first). So
    a name that changes the label costs one case, and not the whole group as when all had to agree, or all others as
    when the first name set the rule. It says nothing of whether that label is right.
    """
    wanted_ids = _wanted_ids(cases, label_ids, labels)
    asked, passed = wanted_ids != LEFT_OUT, wanted_ids == label_ids
    capabilities = np.array([case.capability for case in cases], dtype=object)
    return {
        **_counts(asked, passed),
        "left_out": int(len(cases) - asked.sum()),
        "by_capability": {
            name: _counts(asked & (capabilities == name), passed & (capabilities == name))
            for name in dict.fromkeys(capabilities[asked])
        },
    }


def failed_cases(cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the cases that did not pass, in order: `capability`, `text`, `expected` and `predicted` labels, `group`.

    Arguments are those of `results_of`. For a case of a group, `expected` is the label that most of its group have.
    """
    return [
        {
            "capability": case.capability,
            "text": case.text,
            "expected": labels[wanted_id],
            "predicted": labels[label_id],
            "group": case.group,
        }
        for case, wanted_id, label_id in zip(cases, _wanted_ids(cases, label_ids, labels), label_ids, strict=True)
        if wanted_id not in (LEFT_OUT, label_id)
    ]


def _cases_of(block: dict[str, Any], shared_words: dict[str, list[str]]) -> Iterator[Case]:
    """Yield every template of a block with every choice of words; a group is called by its text with the slot open."""
    words = shared_words | block.get("words", {})
    swap = block.get("swap")
    for template in block["templates"]:
        slots = list(dict.fromkeys(slot for _, slot, _, _ in Formatter().parse(template) if slot))
        for choice in product(*(words[slot] for slot in slots)):
            chosen = dict(zip(slots, choice, strict=True))
            text = template.format(**chosen)
            group = template.format(**chosen | {swap: f"{{{swap}}}"}) if swap else None
            yield Case(block["capability"], text[0].upper() + text[1:], block.get("expected"), group)


def _wanted_ids(cases: Sequence[Case], label_ids: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return int64 `(cases,)`: the label that each case must get, or LEFT_OUT where `labels` do not have it."""
    answers: dict[str | None, Counter[int]] = {}
    for case, label_id in zip(cases, label_ids, strict=True):
        answers.setdefault(case.group, Counter())[int(label_id)] += 1
    ids = label2id(labels)
    return np.array(
        [
            ids.get(case.expected, LEFT_OUT) if case.expected else answers[case.group].most_common(1)[0][0]
            for case in cases
        ],
        dtype=np.int64,
    )


def _counts(asked: NDArray[np.bool_], passed: NDArray[np.bool_]) -> dict[str, Any]:
    num_asked, num_passed = int(asked.sum()), int(passed.sum())
    return {"cases": num_asked, "passed": num_passed, "share": num_passed / num_asked if num_asked else None}
