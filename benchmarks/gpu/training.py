"""Measures an epoch of this project's loop beside the Trainer of transformers, on the same rows and encoders."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import our_loop, trainer
from benchmarks.gpu.device import read_peak, reset_torch
from benchmarks.gpu.inputs import LABELS, MAX_TOKENS, LabelledRows, get_shape, load_rows, write_encoder
from benchmarks.gpu.results import Results
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.turns import Contender, Work, measure_in_turns

TOKENS_PER_STEP = (32_768, 8_192)
WARM_UP_STEPS = 6
PROFILED_STEPS = 20
SHOWN_KERNELS = 8


def name_ours(tokens_per_step: int) -> str:
    """Return what this project's loop is called in the results."""
    return f"this project, {tokens_per_step:,} tokens a step"


def measure_minilm(setting: Setting, results: Results) -> None:
    """Measure an encoder of MiniLM's shape."""
    _measure_shape("minilm", setting, results)


def measure_bert(setting: Setting, results: Results) -> None:
    """Measure an encoder of BERT-base's shape."""
    _measure_shape("bert", setting, results)


def _measure_shape(name: str, setting: Setting, results: Results) -> None:
    """Add the tokens a second of each contender at each number of tokens in a step, and how busy the GPU is."""
    encoder = write_encoder(setting, name)
    rows = load_rows(setting, encoder)
    flop_per_token = 3 * get_shape(setting, name).count_flop_per_token(rows.lengths)
    peak = read_peak(setting)
    for tokens_per_step in setting.choose(TOKENS_PER_STEP, (512,)):
        contenders = _build_contenders(setting, encoder, rows, tokens_per_step)
        ours = name_ours(tokens_per_step)
        first_rows = round(WARM_UP_STEPS * tokens_per_step / rows.lengths.mean())
        measure_in_turns(
            setting,
            results,
            contenders,
            "tokens_per_s",
            ours=ours,
            first_rows=first_rows,
            max_rows=setting.choose(len(rows.texts), 48),
            of_peak=lambda rate: peak and rate * flop_per_token / peak,
        )
        if setting.device == "cuda":
            what = f"{ours}, with the profiler"
            with results.catching(what):
                train = partial(contenders[ours], PROFILED_STEPS * first_rows // WARM_UP_STEPS)
                results.add(what, gpu_busy=_measure_busy_share(train))


def _build_contenders(
    setting: Setting, encoder: Path, rows: LabelledRows, tokens_per_step: int
) -> dict[str, Contender]:
    """Return this project's loop, and the Trainer tuned and as documented, with about as many tokens in a step."""

    def train_ours(num_rows: int) -> Work:
        """Tokenising is part of the time, loading the model is not."""
        keys = {"tokens_per_batch": tokens_per_step, "max_tokens": MAX_TOKENS}
        texts, label_ids = rows.texts[:num_rows], rows.label_ids[:num_rows]
        reset_torch(cudnn_attention=True)
        metrics = our_loop.train_once(encoder, texts, label_ids, labels=LABELS, device=setting.device, **keys)
        return Work(metrics["tokens"], metrics["tokens"] / metrics["tokens_per_s"])

    def use_trainer(num_rows: int, *, tuned: bool) -> Work:
        """Tokenising is not part of the time."""
        seconds = trainer.train_once(
            encoder,
            rows.tokens[:num_rows],
            rows.label_ids[:num_rows],
            batch_rows=batch_rows,
            tuned=tuned,
            device=setting.device,
        )
        return Work(int(rows.lengths[:num_rows].sum()), seconds)

    batch_rows = max(1, tokens_per_step // MAX_TOKENS)
    return {
        name_ours(tokens_per_step): train_ours,
        f"Trainer, tuned, {batch_rows} rows a step": partial(use_trainer, tuned=True),
        f"Trainer, as documented, {batch_rows} rows a step": partial(use_trainer, tuned=False),
    }


def _measure_busy_share(train: Callable[[], Work]) -> float:
    """Return the share of a training's time in which the GPU runs kernels; print those that take most of it."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work = train()
    kernels = sorted(profiler.key_averages(), key=lambda kernel: -kernel.device_time_total)
    busy_s = sum(kernel.device_time_total for kernel in kernels) / 1e6
    for kernel in kernels[:SHOWN_KERNELS]:
        print(f"{kernel.device_time_total / 1e6 / busy_s:6.1%} {kernel.count:6} × {kernel.key[:90]}")  # noqa: T201
    return busy_s / work.seconds
