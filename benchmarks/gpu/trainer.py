"""Trains with the Trainer of transformers: as its text classification guide shows it, or tuned.

As documented: dynamic padding, random order, fp32 (https://huggingface.co/docs/transformers/tasks/sequence_classification).
Tuned, as https://huggingface.co/docs/transformers/perf_train_gpu_one advises: bf16, TF32, the fused optimizer, workers
that load data, texts of similar length together. The tuned Trainer also goes without cuDNN's attention, which makes a
plan for every new shape of a batch.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from benchmarks.gpu.device import reset_torch

LOADING_WORKERS = 4


def train_once(
    encoder: Path, tokens: Sequence[list[int]], label_ids: Sequence[int], *, batch_rows: int, tuned: bool, device: str
) -> float:
    """Train one epoch on rows that are tokenised already, and return the seconds."""
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    rows = [{"input_ids": ids, "labels": label_id} for ids, label_id in zip(tokens, label_ids, strict=True)]
    reset_torch(cudnn_attention=not tuned)
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(output_dir=directory, **_choose_arguments(batch_rows, tuned=tuned, device=device)),
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(encoder)),
        )
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def _choose_arguments(batch_rows: int, *, tuned: bool, device: str) -> dict[str, object]:
    """Return arguments of the Trainer under the names that the installed release knows."""
    known = {field.name for field in fields(TrainingArguments)}
    arguments: dict[str, object] = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": batch_rows,
        "learning_rate": 5e-5,
        "weight_decay": 0.01,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": device == "cpu",
    }
    arguments["warmup_ratio" if "warmup_ratio" in known else "warmup_steps"] = 0.1
    if not tuned:
        return arguments
    if "train_sampling_strategy" in known:
        arguments["train_sampling_strategy"] = "group_by_length"
    else:
        arguments["group_by_length"] = True
    on_gpu = {"tf32": True, "dataloader_num_workers": LOADING_WORKERS} if device == "cuda" else {}
    return arguments | {"bf16": True, "optim": "adamw_torch_fused"} | on_gpu
