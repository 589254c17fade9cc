"""Compares the answers on the device with those of the CPU, and those of a text alone with those in company."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.gpu.inputs import find_bundle, load_mix
from benchmarks.gpu.results import Results
from benchmarks.gpu.scoring import load_predictors
from benchmarks.gpu.setting import Setting
from sentiment_ray import Predictor

NUM_TEXTS = 6_000
NUM_ALONE = 1_000


def compare_answers(setting: Setting, results: Results) -> None:
    """Add a line for each variant: labels as on the CPU, and same bits alone and in company; and what `auto` takes."""
    bundle, _ = find_bundle(setting)
    texts = load_mix(setting, setting.choose(NUM_TEXTS, 60))
    with results.catching("auto"):
        results.add("auto", note=_ask_doctor(bundle))
    expected = Predictor.load(bundle, engine="onnxruntime", variant="fp32").score(texts)
    for variant, predictor in load_predictors(setting, bundle, results).items():
        with results.catching(f"{predictor.engine}, {variant}"):
            scores = predictor.score(texts)
            differs = scores.label_ids != expected.label_ids
            probabilities = np.sort(expected.probabilities[differs], axis=1)
            margin = float((probabilities[:, -1] - probabilities[:, -2]).max(initial=0))
            few = texts[: setting.choose(NUM_ALONE, 10)]
            results.add(
                f"{predictor.engine}, {variant}",
                rows=len(texts),
                same_labels=f"{int((~differs).sum()):,} of {len(texts):,}",
                max_margin_of_other_labels=margin,
                max_probability_difference=float(np.abs(scores.probabilities - expected.probabilities).max()),
                same_bits=_compare_bits(predictor, few),
                is_invariant=predictor.is_batch_invariant(),
            )


def _compare_bits(predictor: Predictor, texts: list[str]) -> float:
    """Return the share of texts whose logits alone and among the others are the same, bit for bit."""
    together = predictor.score(texts).logits
    alone = np.concatenate([predictor.score([text]).logits for text in texts])
    return float((alone == together).all(axis=1).mean())


def _ask_doctor(bundle: Path) -> str:
    """Return the engine and the variant that `auto` takes on this machine, as `sentiment-ray doctor` says."""
    code = "from sentiment_ray.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(bundle)], capture_output=True, text=True, check=True
    )
    return "{engine}, {variant}".format(**json.loads(done.stdout)["bundle"]["auto"])
