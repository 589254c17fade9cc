"""A short trial whether an engine gives rows the same bits in every batch; knows token ids, no files or labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentiment_ray.engine_specs import get_batching
from sentiment_ray.inference.behaviour import load_cases
from sentiment_ray.inference.encoding_ahead import compute_logits
from sentiment_ray.inference.engines import Engine
from sentiment_ray.text.batching import count_padded_rows, pad_lengths, round_up_lengths
from sentiment_ray.text.encoding import TextEncoder, encode

SHORT_BATCHES = {4: (2, 3, 5, 8, 16, 17, 33, 64, 65), 16: (2, 3, 8, 17, 120), 52: (2, 5, 9), 104: (3,)}
"""Numbers of rows to try, by the length of a row in tokens. Engines change kernels at powers of two, for example."""
NUM_PROBES = 3


def passes_short_trial(engine: Engine, encoder: TextEncoder, *, tokens_per_batch: int) -> bool:
    """Whether an engine gives a few short rows of tokens the same logits, bit for bit, alone and among other rows.

    Two kinds of engines on the CPU do not. Dynamic int8 takes one scale for the whole batch (onnxruntime#10111).
    OpenVINO's bf16 takes other kernels for other numbers of rows on a processor with AMX. The trial runs batches of
    about 5,000 tokens in all, none larger than `tokens_per_batch`. It can find a difference; it proves nothing of rows
    as long as those of reviews.
    """
    tokens = read_suite_tokens(encoder)
    for length, row_counts in SHORT_BATCHES.items():
        rows = _make_rows(tokens, max(row_counts), min(length, encoder.max_tokens), encoder.max_tokens)
        padded = _pad_length(engine, encoder, rows)
        alone = np.concatenate([_compute_logits(engine, encoder, [row]) for row in rows[:NUM_PROBES]])
        for num_rows in row_counts:
            order = _order_with_spread_probes(num_rows)
            batch = [rows[index] for index in order]
            if num_rows * padded <= tokens_per_batch:
                logits = _compute_logits(engine, encoder, batch)
                is_probe = order < NUM_PROBES
                if not np.array_equal(logits[is_probe], alone[order[is_probe]]):
                    return False
    return True


def read_suite_tokens(encoder: TextEncoder) -> NDArray[np.int64]:
    """Return the token ids of all sentences of the behaviour suite, one sentence after the other."""
    return np.concatenate(encode(encoder, [case.text for case in load_cases()]).ids)


def _make_rows(tokens: NDArray[np.int64], num_rows: int, length: int, max_tokens: int) -> list[NDArray[np.int64]]:
    """Return rows of real tokens, all different, of `length` tokens; every other one is shorter if padded alike."""
    shorter = max(1, length - 1)
    padded = round_up_lengths(np.array([shorter, length], dtype=np.int32), max_tokens=max_tokens)
    is_padded = padded[0] == padded[1]
    values = np.resize(tokens, (num_rows, length))
    return [row[:shorter] if is_padded and index % 2 else row for index, row in enumerate(values)]


def _order_with_spread_probes(num_rows: int) -> NDArray[np.intp]:
    """Return the indices of the rows of a batch, so that the first rows stand at its start, its end and its middle."""
    order = np.arange(num_rows)
    for probe, index in ((1, num_rows - 1), (2, num_rows // 2)):
        if probe < num_rows:
            order[[probe, index]] = order[[index, probe]]
    return order


def _compute_logits(engine: Engine, encoder: TextEncoder, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    num_rows = count_padded_rows(len(rows), get_batching(engine.name))
    return compute_logits(engine, encoder, rows, length=_pad_length(engine, encoder, rows), num_rows=num_rows)


def _pad_length(engine: Engine, encoder: TextEncoder, rows: Sequence[NDArray[np.int64]]) -> int:
    longest = np.array([max(map(len, rows))], dtype=np.int32)
    return int(pad_lengths(longest, get_batching(engine.name), max_tokens=encoder.max_tokens)[0])
