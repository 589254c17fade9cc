"""With tokens_per_batch = "auto" every number of rows gets enough steps; a number that was given stays."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.train.batch_size import CHOSEN_KEYS, FEWEST_ROWS, MIN_STEPS, choose_batch_size, keep_chosen
from sentiment_ray.train.config import LORA_LEARNING_RATE, MOST_TOKENS, MOST_TOKENS_ON_GPU, TrainConfig
from sentiment_ray.train.prepared import PreparedReviews
from tests.conftest import ROOT


def _choose(num_rows: int, mean_tokens: float = 25.0, **keys: Any) -> TrainConfig:
    config = TrainConfig(**{"prepared": "p", "model": "m", "output": "o"} | keys)
    return choose_batch_size(config, num_rows=num_rows, mean_tokens=mean_tokens)


def _count_steps(config: TrainConfig, num_rows: int, mean_tokens: float) -> int:
    """Return the steps of a training whose rows all have the same number of tokens."""
    rows_per_worker = num_rows / config.max_workers
    rows = min(config.token_budget // mean_tokens, config.rows_per_batch or math.inf)
    batches = math.ceil(rows_per_worker / max(rows, 1)) * (config.passes_per_epoch or 1)
    return config.epochs * math.ceil(batches / config.accumulation_steps)


@pytest.mark.parametrize("num_rows", [1, 7, 10, 66, 200, 600, 3000, 6000, 20_000, 1_000_000])
@pytest.mark.parametrize("mean_tokens", [5, 25, 128])
@pytest.mark.parametrize("keys", [{}, {"epochs": 5}, {"num_workers": 4}, {"accumulation_steps": 4}])
def test_every_number_of_rows_gets_enough_steps(num_rows: int, mean_tokens: int, keys: dict[str, Any]) -> None:
    config = _choose(num_rows, mean_tokens, **keys)
    assert _count_steps(config, num_rows, mean_tokens) >= 0.95 * MIN_STEPS
    if config.rows_per_batch and config.passes_per_epoch:
        assert config.rows_per_batch >= FEWEST_ROWS


@pytest.mark.parametrize(
    ("num_rows", "mean_tokens", "num_steps"),
    [
        (66, 20, 216), (600, 20, 300), (3000, 20, 200), (6000, 20, 200), (8000, 20, 200), (100_000, 20, 1962),
        (66, 128, 216), (600, 128, 300), (3000, 128, 376), (6000, 128, 750), (8000, 128, 1000), (100_000, 128, 12_500),
    ],
)  # fmt: skip
def test_the_default_takes_the_steps_in_the_table_of_the_documentation(
    num_rows: int, mean_tokens: int, num_steps: int
) -> None:
    assert _count_steps(_choose(num_rows, mean_tokens), num_rows, mean_tokens) == num_steps
    table = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {num_rows:,} |")]
    assert row.split("|")[2 if mean_tokens == 20 else 3].split(":")[0].strip() == f"{num_steps:,}"


@pytest.mark.parametrize("mean_tokens", [128, 300])
def test_a_batch_of_random_rows_is_not_cut_by_its_tokens(mean_tokens: int) -> None:
    assert [_choose(rows, mean_tokens).rows_per_batch for rows in (1000, 2000, 3000)] == [10, 16, 16]
    assert _choose(2000, mean_tokens, rows_per_batch=20).rows_per_batch == 20


@pytest.mark.parametrize("mean_tokens", [25, 128])
@pytest.mark.parametrize("num_rows", [66, 600, 3000, 6000, 20_000, 200_000, 2_000_000])
def test_a_gpu_gets_larger_batches_of_many_rows_and_the_same_ones_of_few(num_rows: int, mean_tokens: int) -> None:
    on_cpu, on_gpu = (_choose(num_rows, mean_tokens, use_gpu=use_gpu) for use_gpu in (False, True))
    assert _count_steps(on_gpu, num_rows, mean_tokens) >= 0.95 * MIN_STEPS
    assert MOST_TOKENS_ON_GPU >= on_gpu.token_budget >= on_cpu.token_budget
    if on_cpu.rows_per_batch:
        assert on_gpu == on_cpu.model_copy(update={"use_gpu": True})
    if num_rows == 2_000_000:
        assert (on_cpu.token_budget, on_gpu.token_budget) == (MOST_TOKENS, MOST_TOKENS_ON_GPU)


def test_a_gpu_gets_the_tokens_and_the_rows_that_are_given() -> None:
    assert _choose(50_000, use_gpu=True, tokens_per_batch=512).token_budget == 512
    many_rows = _choose(1_000_000, 128, use_gpu=True, rows_per_batch=256)
    assert (many_rows.rows_per_batch, many_rows.token_budget) == (256, MOST_TOKENS_ON_GPU)


def test_a_run_that_resumes_keeps_what_it_chose() -> None:
    begun = _choose(50_000)
    chosen = {"chosen": {key: getattr(begun, key) for key in CHOSEN_KEYS} | {"num_threads": 2}}
    assert keep_chosen(_choose(50_000, use_gpu=True), chosen) == begun.model_copy(update={"use_gpu": True})
    assert keep_chosen(begun, {}) == begun
    assert keep_chosen(begun, {"chosen": {"num_threads": 2}}) == begun  # of an earlier release


def test_few_rows_get_small_batches_and_several_passes() -> None:
    config = _choose(66)
    assert (config.rows_per_batch, config.tokens_per_batch) == (8, MOST_TOKENS)
    assert config.passes_per_epoch == math.ceil(MIN_STEPS / (9 * config.epochs))
    assert config.contrastive_weight == 1


def test_many_rows_are_trained_on_as_with_2048_tokens() -> None:
    many = _choose(50_000)
    assert many == _choose(50_000, tokens_per_batch=2048)
    assert (many.rows_per_batch, many.passes_per_epoch) == (None, None)


def test_numbers_that_were_given_stay() -> None:
    given = {"tokens_per_batch": 512}
    assert _choose(66, **given).model_dump() == TrainConfig(prepared="p", model="m", output="o", **given).model_dump()
    assert _choose(66, rows_per_batch=3).rows_per_batch == 3
    many = _choose(50_000, rows_per_batch=3)
    assert (many.tokens_per_batch, many.rows_per_batch, many.passes_per_epoch) == (MOST_TOKENS, 3, None)
    assert many.contrastive_weight is None
    assert _choose(66, contrastive_weight=0.0).contrastive_weight == 0


def test_the_contrastive_loss_is_for_at_most_a_hundred_rows() -> None:
    """With 200 and 600 tweets it took a third of macro-F1."""
    assert [_choose(rows).contrastive_weight for rows in (20, 100, 101, 600)] == [1, 1, None, None]
    assert _choose(600, contrastive_weight=0.5).contrastive_weight == 0.5
    assert _choose(66, passes_per_epoch=2).passes_per_epoch == 2


def test_the_learning_rate_is_higher_with_at_most_a_hundred_rows_and_a_new_model() -> None:
    assert [_choose(rows).learning_rate for rows in (20, 100, 101, 50_000)] == [1e-4, 1e-4, 5e-5, 5e-5]
    assert _choose(66, learning_rate=3e-5).learning_rate == 3e-5
    assert _choose(66, start_from="run").learning_rate == 5e-5
    assert _choose(66, lora_rank=8).learning_rate == LORA_LEARNING_RATE


def test_keys_that_are_not_given_are_not_in_the_configuration() -> None:
    keys = TrainConfig(prepared="p", model="m", output="o").model_dump().keys()
    assert not keys & {"rows_per_batch", "passes_per_epoch", "contrastive_weight"}


def test_the_mean_number_of_tokens_is_estimated_from_the_size_of_the_texts(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for number, words in enumerate((10, 30)):
        texts = [f"{row} " + "tea " * words for row in range(500)]
        parquet.write_table(pa.table({"id": range(500), "text": texts}), tmp_path / f"train/{number}.parquet")
    prepared = PreparedReviews(tmp_path, ("a", "b"), {}, {}, ())
    assert prepared.estimate_mean_tokens() == pytest.approx(21, abs=3)
