"""The Trainer of transformers, as its text classification guide shows it, or --tuned.

As documented: dynamic padding, batches of 32 texts in random order, fp32
(https://huggingface.co/docs/transformers/tasks/sequence_classification). Tuned: bf16, texts of similar length together,
eager attention and the fused optimizer (https://huggingface.co/docs/transformers/perf_train_cpu).
"""

import time
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss
from training import parse_task, print_figures, read_split
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

BATCH_SIZE = 32


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokens and labels of a split."""

    def __init__(self, encoded: Any, label_ids: list[int]) -> None:
        self.encoded, self.label_ids = encoded, label_ids

    def __len__(self) -> int:
        return len(self.label_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self.encoded.items()} | {"labels": self.label_ids[index]}


def main() -> None:
    """Train, evaluate, print."""
    task = parse_task(__doc__, flags=("tuned",))
    torch.set_num_threads(task.threads)
    tuned = "tuned" in task.flags
    tokenizer = AutoTokenizer.from_pretrained(task.checkpoint)
    rows = {split: read_split(task, split) for split in ("train", "validation")}
    labels = sorted(set(rows["train"][1]))
    attention = {"attn_implementation": "eager"} if tuned else {}
    model = AutoModelForSequenceClassification.from_pretrained(task.checkpoint, num_labels=len(labels), **attention)
    settings = TrainingArguments(
        output_dir=task.output,
        num_train_epochs=task.epochs,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=task.learning_rate,
        weight_decay=0.01,
        warmup_steps=0.1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=50,
        use_cpu=not torch.cuda.is_available(),
        **({"bf16": True, "train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused"} if tuned else {}),
    )
    started = time.perf_counter()
    splits = {
        split: Rows(
            tokenizer(texts, truncation=True, max_length=task.max_tokens), [labels.index(name) for name in names]
        )
        for split, (texts, names) in rows.items()
    }
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=splits["train"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer=tokenizer),
    )
    trainer.train()
    seconds = time.perf_counter() - started
    logits = trainer.predict(splits["validation"]).predictions.astype(np.float64)
    label_ids = np.array(splits["validation"].label_ids)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    print_figures(
        rows=len(splits["train"]) * task.epochs,
        tokens=sum(map(len, splits["train"].encoded["input_ids"])) * task.epochs,
        seconds=seconds,
        accuracy=float((logits.argmax(axis=1) == label_ids).mean()),
        validation_loss=float(
            log_loss(label_ids, exponents / exponents.sum(axis=1, keepdims=True), labels=range(len(labels)))
        ),
    )


if __name__ == "__main__":
    main()
