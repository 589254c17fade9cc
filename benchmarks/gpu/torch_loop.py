"""What scoring is compared with: a bare torch loop, which is the speed to reach, and the pipeline of transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

from benchmarks.gpu.device import reset_torch
from sentiment_ray.text.batching import length_sorted_batches

Score = Callable[[list[str]], object]
PIPELINES: dict[str, dict[str, Any]] = {
    "pipeline, as documented, one text at a time": {"batch_size": 1, "tuned": False},
    "pipeline, as documented, batches of 32": {"batch_size": 32, "tuned": False},
    "pipeline, tuned: fp16, sorted by length, batches of 128": {"batch_size": 128, "tuned": True},
}
"""As documented: https://huggingface.co/docs/transformers/main_classes/pipelines."""


def load_loop(checkpoint: Path, device: str, *, max_tokens: int, tokens_per_batch: int) -> Score:
    """Return a function that tokenises texts, sorts them by length, pads them and computes their logits."""
    precision = torch.float16 if device == "cuda" else torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=precision).to(device).eval()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)

    @torch.inference_mode()
    def score(texts: list[str]) -> np.ndarray:
        reset_torch(cudnn_attention=False)
        tokens = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        logits = []
        # The largest batch comes first, so that memory is set aside once.
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int32)
        for rows in reversed(list(length_sorted_batches(lengths, tokens_per_batch=tokens_per_batch))):
            ids = np.zeros((len(rows), len(tokens[rows[-1]])), dtype=np.int64)
            mask = np.zeros_like(ids)
            for index, row in enumerate(rows):
                ids[index, : len(tokens[row])], mask[index, : len(tokens[row])] = tokens[row], 1
            input_ids, attention_mask = (
                torch.from_numpy(values).to(device, non_blocking=True) for values in (ids, mask)
            )
            logits.append(model(input_ids=input_ids, attention_mask=attention_mask).logits)
        return torch.cat(logits).float().cpu().numpy()

    return score


def load_pipeline(checkpoint: Path, device: str, *, max_tokens: int, batch_size: int, tuned: bool) -> Score:
    """Return a function that scores texts with a pipeline; the tuned one sorts them and computes in fp16."""
    precision = {"dtype": torch.float16} if tuned and device == "cuda" else {}
    classify = pipeline("text-classification", model=str(checkpoint), device=device, **precision)

    def score(texts: list[str]) -> list[dict[str, Any]]:
        reset_torch(cudnn_attention=not tuned)
        ordered = sorted(texts, key=len, reverse=True) if tuned else texts
        return list(classify(ordered, batch_size=batch_size, truncation=True, max_length=max_tokens))

    return score
