"""Compares training steps on padded batches with steps on unpadded ones, where a batch is one row of tokens.

Both train the same BERT of transformers with the same optimizer and without dropout, from token ids in memory. Padded
batches are sorted by length. Unpadded ones use torch's attention for sequences of different lengths.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import BertModel

from benchmarks.gpu.device import read_peak, reset_torch
from benchmarks.gpu.inputs import LABELS, SHAPES, LabelledRows, get_shape, load_rows, write_encoder
from benchmarks.gpu.results import Results
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.turns import Work, measure_in_turns, time_call
from sentiment_ray.text.batching import length_sorted_batches

TOKENS_PER_STEP = 32_768
WARM_UP_STEPS = 4
COMPARED_ROWS = 64


def measure_unpadded(setting: Setting, results: Results) -> None:
    """Add the tokens a second of both kinds of batches, and how far their outputs lie apart."""
    for name in SHAPES:
        with results.catching(name):
            encoder = write_encoder(setting, name)
            rows = load_rows(setting, encoder)
            model = _load_model(encoder, setting.device)
            difference = _compare_outputs(model, rows.tokens[:COMPARED_ROWS], setting.device)
            results.add(f"{name}, outputs", note=f"largest difference of unpadded outputs {difference:.2g}")
            _measure_shape(name, setting, results, _Trainee(model, rows, setting.device))


def _measure_shape(name: str, setting: Setting, results: Results, trainee: "_Trainee") -> None:
    """Measure both kinds of batches on one encoder."""
    lengths, budget = trainee.rows.lengths, setting.choose(TOKENS_PER_STEP, 512)
    flop_per_token = 3 * get_shape(setting, name).count_flop_per_token(lengths)
    peak = read_peak(setting)

    def train(num_rows: int, *, is_padded: bool) -> Work:
        split = length_sorted_batches if is_padded else split_by_tokens
        batches = split(lengths[:num_rows], tokens_per_batch=budget)
        seconds = time_call(lambda: trainee.take_steps(batches, compute_padded if is_padded else compute_unpadded))
        return Work(int(lengths[:num_rows].sum()), seconds)

    unpadded = f"{name}, unpadded, {budget:,} tokens a step"
    contenders = {
        unpadded: partial(train, is_padded=False),
        f"{name}, padded, {budget:,} tokens a step": partial(train, is_padded=True),
    }
    reset_torch(cudnn_attention=False)
    measure_in_turns(
        setting,
        results,
        contenders,
        "tokens_per_s",
        ours=unpadded,
        first_rows=round(WARM_UP_STEPS * budget / lengths.mean()),
        max_rows=setting.choose(len(lengths), 48),
        of_peak=lambda rate: peak and rate * flop_per_token / peak,
    )


class _Trainee:
    """An encoder with a head, its optimizer, and the rows to train on."""

    def __init__(self, model: torch.nn.ModuleDict, rows: LabelledRows, device: str) -> None:
        self.model, self.rows, self.device = model, rows, device
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device == "cuda")

    def take_steps(self, batches: Iterable[np.ndarray], compute: Callable[..., torch.Tensor]) -> None:
        """Take a step for the rows of each batch; `compute` returns the pooled outputs of rows of tokens."""
        for indices in batches:
            tokens = [self.rows.tokens[index] for index in indices]
            label_ids = torch.tensor([self.rows.label_ids[index] for index in indices])
            with torch.autocast(self.device, torch.bfloat16):
                logits = self.model["head"](compute(self.model["encoder"], tokens, self.device))
            cross_entropy(logits.float(), label_ids.to(self.device, non_blocking=True)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        next(self.model.parameters()).sum().item()  # waits for the device


def split_by_tokens(lengths: np.ndarray, *, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Yield the indices of rows in their order, in batches of at most `tokens_per_batch` tokens without padding."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        taken = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, taken + tokens_per_batch, side="right")))
        yield np.arange(start, end)
        start = end


def compute_padded(encoder: BertModel, batch: list[list[int]], device: str) -> torch.Tensor:
    """Return the pooled output `(rows, width)` of rows that are padded to the longest one."""
    ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(batch):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    input_ids, attention_mask = (torch.from_numpy(values).to(device, non_blocking=True) for values in (ids, mask))
    return encoder(input_ids=input_ids, attention_mask=attention_mask).pooler_output


def compute_unpadded(encoder: BertModel, batch: list[list[int]], device: str) -> torch.Tensor:
    """Return the pooled output `(rows, width)` of rows that stand one behind the other, without padding."""
    lengths = np.array([len(row) for row in batch])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    ids, positions, offsets = (
        torch.from_numpy(np.asarray(values)).to(device, non_blocking=True)
        for values in (np.concatenate(batch)[None], positions[None], starts.astype(np.int32))
    )
    hidden = encoder.embeddings(input_ids=ids, position_ids=positions, token_type_ids=torch.zeros_like(ids))
    for layer in encoder.encoder.layer:
        attention, heads = layer.attention.self, encoder.config.num_attention_heads
        query, key, value = (
            project(hidden)[0].unflatten(-1, (heads, -1))
            for project in (attention.query, attention.key, attention.value)
        )
        context = _attend(query, key, value, offsets, int(lengths.max())).flatten(1)[None]
        attended = layer.attention.output(context, hidden)
        hidden = layer.output(layer.intermediate(attended), attended)
    return encoder.pooler(hidden[0, offsets[:-1].long()][:, None])


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: torch.Tensor, longest: int
) -> torch.Tensor:
    """Return the attention `(tokens, heads, width)` of tokens to those of their own row.

    torch has a kernel for this on CUDA alone. On the CPU, for rehearsals, each row is computed by itself.
    """
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = (values.to(torch.bfloat16) for values in (query, key, value))
        return varlen_attn(query, key, value, offsets, offsets, longest, longest)
    parts = []
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        row = (values[start:end].transpose(0, 1)[None] for values in (query, key, value))
        parts.append(scaled_dot_product_attention(*row)[0].transpose(0, 1))
    return torch.cat(parts)


def _load_model(encoder: Path, device: str) -> torch.nn.ModuleDict:
    """Return an encoder and a new head."""
    model = BertModel.from_pretrained(encoder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    head = torch.nn.Linear(model.config.hidden_size, len(LABELS))
    return torch.nn.ModuleDict({"encoder": model, "head": head}).to(device).train()


@torch.no_grad()
def _compare_outputs(model: torch.nn.ModuleDict, batch: list[list[int]], device: str) -> float:
    """Return the largest difference between the pooled outputs of padded and unpadded rows in bf16."""
    with torch.autocast(device, torch.bfloat16):
        outputs = [compute(model["encoder"], batch, device).float() for compute in (compute_padded, compute_unpadded)]
    return float((outputs[0] - outputs[1]).abs().max())
