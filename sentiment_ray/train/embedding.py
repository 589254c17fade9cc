"""Embeds texts with a base encoder that is not fine-tuned; knows nothing of labels or Ray."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_ray.pretrained.base_encoder import load_base, pool_states
from sentiment_ray.text.batching import length_sorted_batches, pad
from sentiment_ray.text.encoding import TextEncoder, encode
from sentiment_ray.train.device import copy_together
from sentiment_ray.train.precision import use_bf16

TOKENS_PER_BATCH = 4096
"""Most tokens of a batch, padding included."""


def embed_texts(model: str, texts: Sequence[str], max_tokens: int) -> NDArray[np.float32]:
    """Load a base encoder and return a unit vector for each text, float32 `(texts, width)`."""
    return embed(*load_base(model, max_tokens=max_tokens), texts)


@torch.no_grad()
def embed(network: torch.nn.Module, encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the normalised mean of the last hidden states of each text: float32 `(texts, width)`.

    It is computed where the network is.
    """
    device = next(network.parameters()).device
    encoded, bf16 = encode(encoder, texts), use_bf16("auto", device)
    vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(texts)
    for batch in length_sorted_batches(encoded.lengths, tokens_per_batch=TOKENS_PER_BATCH):
        padded = pad([encoded.ids[row] for row in batch], pad_id=encoder.pad_id)
        input_ids, mask = copy_together([torch.from_numpy(array) for array in padded], device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            states = network(input_ids=input_ids, attention_mask=mask).last_hidden_state
        for row, vector in zip(batch, pool_states(states, mask).cpu().numpy(), strict=True):
            vectors[row] = vector
    return np.stack(vectors)
