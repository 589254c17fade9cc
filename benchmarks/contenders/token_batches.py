"""Shared by contenders whose library takes token ids: tokens, batches in order or under a budget, answers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from contender import Task
from numpy.typing import NDArray
from prediction import Answers, Predict, read_labels
from tokenizers import Tokenizer

TEXTS_PER_BATCH = 32
TOKENS_PER_BATCH = 2048
Batches = Callable[[NDArray[np.int64]], Iterator[NDArray[np.intp]]]


def batches_in_order(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of texts in batches of 32, in the given order."""
    yield from np.split(np.arange(len(lengths)), range(TEXTS_PER_BATCH, len(lengths), TEXTS_PER_BATCH))


def batches_under_budget(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of texts sorted by length, in batches of at most 2,048 tokens with padding."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - start) * lengths[order[end]] > TOKENS_PER_BATCH:
            yield order[start:end]
            start = end


def pad(ids: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask`, both int64 `(batch, length)`."""
    input_ids = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)  # 0 is [PAD]
    attention_mask = np.zeros_like(input_ids)
    for index, row in enumerate(ids):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask


def build_predictor(
    task: Task,
    run: Callable[[Iterator[tuple[NDArray[np.intp], list[list[int]]]], NDArray[np.float32]], None],
    batches: Batches,
) -> Predict:
    """Return a function from texts to answers.

    `run` takes the indices and token ids of each batch, and writes the logits into a float32 array `(texts, labels)`.
    """
    labels = read_labels(task)
    tokenizer = Tokenizer.from_file(str(Path(task.checkpoint) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=task.max_tokens)

    def predict(texts: list[str]) -> Answers:
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        lengths = np.array([len(row) for row in ids])
        logits = np.empty((len(texts), len(labels)), dtype=np.float32)
        run(((indices, [ids[index] for index in indices]) for indices in batches(lengths)), logits)
        return pick_answers(softmax(logits), labels)

    return predict


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities `(texts, labels)` of logits."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def pick_answers(probabilities: NDArray[np.float32], labels: list[str]) -> Answers:
    """Return the label of each row of probabilities `(texts, labels)`, and its probability."""
    return [labels[index] for index in probabilities.argmax(axis=1)], probabilities.max(axis=1).tolist()
