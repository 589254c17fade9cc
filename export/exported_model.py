"""What an export needs of a model: a fine-tuned run and a bare encoder give it in different ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from export.held_out import HeldOut
from export.variants import Source
from sentiment_ray.bundle.manifest import Default, Variant
from sentiment_ray.text.encoding import TextEncoder
from sentiment_ray.text.truncation import Truncation


@dataclass(frozen=True)
class Reading:
    """How a model reads a text."""

    max_tokens: int
    truncation: Truncation
    cleaning_steps: tuple[str, ...]


@dataclass(frozen=True)
class CardContent:
    """What a model card says of a bundle's files."""

    encoder: TextEncoder
    training: Mapping[str, Any]
    variants: Mapping[str, Variant]
    default: Default
    notes: Sequence[str]


class ExportedModel(Protocol):
    """A model that becomes a bundle."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels, in the order of the logits."""

    @property
    def reading(self) -> Reading:
        """How it reads a text."""

    @property
    def made_from(self) -> dict[str, str]:
        """Hashes of what it was made from."""

    @property
    def has_reviews(self) -> bool:
        """Whether it is compared with torch on reviews such as it will read, so that drift can be measured."""

    def copy_files(self, directory: Path) -> None:
        """Write config.json and the tokenizer's files, checked, and an empty directory for the ONNX files."""

    def score_held_out(self, encoder: TextEncoder) -> HeldOut:
        """Return texts with torch's scores of them."""

    def write_graph(self, source: Source, held_out: HeldOut) -> None:
        """Write the plain ONNX file `source.model`, and a directory `source.checkpoint` that has its config.json."""

    def describe_training(self, held_out: HeldOut) -> dict[str, Any]:
        """Return what the manifest says of the training."""

    def make_card(self, content: CardContent) -> str:
        """Return the model card as Markdown."""
