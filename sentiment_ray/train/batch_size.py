"""Chooses the size of a batch by the number of training rows and the device; knows no torch and no Ray.

To change how few rows are trained on, change `choose_batch_size`.
"""

from collections.abc import Mapping
from typing import Any

from sentiment_ray.train.config import MOST_TOKENS, TrainConfig

CHOSEN_KEYS = ("tokens_per_batch", "rows_per_batch", "passes_per_epoch", "contrastive_weight", "learning_rate")
"""Keys whose numbers the training may choose by the number of rows; `chosen` of config.json and run.json has them."""
MIN_STEPS = 200
"""Fewest optimizer steps of a whole training. With fewer, a new head learns little (benchmarks/results/small.jsonl)."""
FEWEST_ROWS, MOST_DRAWN_ROWS = 8, 32
"""Bounds of the rows of a batch that are drawn at random. Larger batches are sorted by length, which saves padding."""
FEW_ROWS = 100
"""Most training rows for which the next two numbers are chosen.

With 200 tweets macro-F1 was 0.42 with the contrastive loss and 0.65 without (benchmarks/results/small.jsonl).
"""
CONTRASTIVE_WEIGHT = 1.0
LEARNING_RATE = 1e-4
"""Of few rows, with the contrastive loss. A model that was trained before would forget more at it than at 5e-5."""


def choose_batch_size(config: TrainConfig, *, num_rows: int, mean_tokens: float) -> TrainConfig:
    """Return the configuration with numbers in the place of tokens_per_batch = "auto"; others stay as they are.

    `num_rows` rows of about `mean_tokens` tokens are trained on in each pass. A batch is as large as it can be
    while the training takes MIN_STEPS steps; it has at most `most_tokens` tokens. When even batches of FEWEST_ROWS
    rows give fewer steps, every epoch reads the rows several times. Batches of few rows are the same on every device.
    """
    if config.tokens_per_batch != "auto":
        return config
    passes = config.passes_per_epoch or 1
    num_batches = MIN_STEPS * config.accumulation_steps  # of each worker, in all epochs
    rows = num_rows * passes * config.epochs / (num_batches * config.max_workers)
    if rows > MOST_DRAWN_ROWS:
        tokens = config.most_tokens if config.rows_per_batch else min(config.most_tokens, round(rows * mean_tokens))
        return config.model_copy(update={"tokens_per_batch": tokens})
    num_fitting = MOST_TOKENS / max(1, min(mean_tokens, config.max_tokens))  # more would be cut into uneven batches
    rows_per_batch = config.rows_per_batch or max(FEWEST_ROWS, int(min(rows, num_fitting)))
    batches_per_pass = -(-num_rows // (rows_per_batch * config.max_workers))
    enough = -(-num_batches // (batches_per_pass * config.epochs))
    chosen: dict[str, Any] = {
        "tokens_per_batch": MOST_TOKENS,
        "rows_per_batch": rows_per_batch,
        "passes_per_epoch": config.passes_per_epoch or enough,
    }
    if num_rows <= FEW_ROWS:
        if config.contrastive_weight is None:
            chosen["contrastive_weight"] = CONTRASTIVE_WEIGHT
        if not (config.start_from or config.lora_rank or "learning_rate" in config.model_fields_set):
            chosen["learning_rate"] = LEARNING_RATE
    return config.model_copy(update=chosen)


def keep_chosen(config: TrainConfig, unfinished: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration with the numbers that a run chose at its start; it resumes with the same batches.

    `unfinished` is the config.json of a run that resumes, else it is empty.
    """
    chosen = unfinished.get("chosen", {})
    return config.model_copy(update={key: chosen[key] for key in CHOSEN_KEYS if key in chosen})
