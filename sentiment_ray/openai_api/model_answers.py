"""What a model may answer, as its bundle says: its labels, and the system messages of its training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sentiment_ray.bundle.manifest import Manifest
from sentiment_ray.openai_api.request_body import invalid_value, quote

MAX_NAMED_LABELS = 20


@dataclass(frozen=True)
class ModelAnswers:
    """What an answer needs to know of a model."""

    model: str
    """The id by which the model was asked."""
    labels: tuple[str, ...]
    """The labels, as the training file spells them, in the order of the probabilities."""
    system_messages: frozenset[str] | None
    """The system messages of the training file; None for a model that was not trained with one."""
    fingerprint: str
    """Changes with the bundle."""


def read_model_answers(model: str, manifest: Manifest) -> ModelAnswers:
    """Return what a bundle's manifest says of its answers."""
    messages = manifest.metadata.get("system_messages")
    return ModelAnswers(
        model=model,
        labels=manifest.labels,
        system_messages=None if messages is None else frozenset(message.strip() for message in messages),
        fingerprint=f"fp_{manifest.bundle_id[:12]}",
    )


def find_labels(choices: Sequence[str], model: ModelAnswers, param: str) -> list[int]:
    """Return the index of the model's label for each choice, which may differ from it by case.

    ApiError, naming `param`, for a choice that is no label of the model.
    """
    exact = {label: index for index, label in enumerate(model.labels)}
    counts = Counter(label.casefold() for label in model.labels)
    folded = {label.casefold(): index for index, label in enumerate(model.labels) if counts[label.casefold()] == 1}
    indices = []
    for choice in choices:
        index = exact.get(choice, folded.get(choice.casefold()))
        if index is None:
            named = ", ".join(map(quote, model.labels[:MAX_NAMED_LABELS]))
            more = ", …" if len(model.labels) > MAX_NAMED_LABELS else ""
            problem = f"'{quote(choice)}' is no label of the model, whose labels are {named}{more}."
            raise invalid_value(param, problem)
        indices.append(index)
    if len(set(indices)) < len(indices):
        raise invalid_value(param, "two of the values stand for one label.")
    return indices
