"""Loads an encoder that is not fine-tuned, and makes one vector of the states of a text; knows no labels."""

import tempfile
from pathlib import Path

import torch

from sentiment_ray.bundle.model_config import find_longest_input
from sentiment_ray.pretrained.load import load_headless
from sentiment_ray.pretrained.tokenizer_files import load_tokenizer_files
from sentiment_ray.text.encoding import TextEncoder, load_encoder


def load_base(model: str, *, max_tokens: int, revision: str | None = None) -> tuple[torch.nn.Module, TextEncoder]:
    """Load an encoder without a head, and the text encoder for it; `revision` is a commit of a model on the Hub.

    Texts are cut at `max_tokens`, or at the longest input of the model where that is shorter.
    """
    with tempfile.TemporaryDirectory() as workspace:
        load_tokenizer_files(model, Path(workspace), revision)
        network = load_headless(model, revision)
        longest = find_longest_input(network.config.to_dict()) or max_tokens
        return network, load_encoder(Path(workspace) / "tokenizer.json", max_tokens=min(max_tokens, longest))


def pool_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the normalised mean of the last hidden states of each text, float32 `(texts, width)`.

    `states` is float `(texts, tokens, width)`. `mask` is `(texts, tokens)`, 0 where a text is padded.
    """
    weights = mask.unsqueeze(-1).float()
    means = (states.float() * weights).sum(dim=1) / weights.sum(dim=1)
    return torch.nn.functional.normalize(means)
