"""The short trial tells the truth about every engine here, and scoring trusts no engine that fails it.

tests/inference/test_text_trial.py has the trial of whole texts.

Tests force OpenVINO's precision, since its default depends on the processor. A processor with AMX is simulated by an
engine that is made of two others, and takes one or the other by the number of rows.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from export.quantize import quantize_weights
from sentiment_ray import Predictor
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.inference.doctor import examine
from sentiment_ray.inference.engines import Engine, load_engine
from sentiment_ray.inference.engines.openvino_engine import OpenVinoEngine
from sentiment_ray.inference.predictor import pack_bundle
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.inference.short_trial import passes_short_trial
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.sample import compare_sample
from sentiment_ray.score.score import score_reviews
from sentiment_ray.text.batching import round_up_lengths
from sentiment_ray.text.encoding import TextEncoder, encode, load_encoder
from tests.inference.two_kernels import TwoKernelEngine

TOKENS_PER_BATCH = 2048


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> TextEncoder:
    return load_encoder(bundle / "tokenizer.json", max_tokens=64)


@pytest.fixture(scope="module")
def models(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a file in fp32 and of one with int8 weights."""
    weights = tmp_path_factory.mktemp("weights") / "weights.onnx"
    quantize_weights(bundle / "onnx/model.onnx", weights)
    return {"fp32": open_bundle(bundle).model("fp32"), "int8_weights": weights.read_bytes()}


@pytest.fixture(scope="module")
def kernels(models: dict[str, bytes]) -> tuple[Engine, Engine]:
    """Two fp32 engines, each invariant, whose logits differ in the last bits alone."""
    return (
        OpenVinoEngine(models["fp32"], 2, precision="f32"),
        load_engine("onnxruntime", models["fp32"], threads=2, source="model.onnx"),
    )


@pytest.fixture(scope="module")
def texts(everyday: list[tuple[str, str]]) -> list[str]:
    """Texts of 1 to 64 tokens, many of one length: batches have from 1 to over 100 rows, and some are padded."""
    sentences = [text for text, _ in everyday]
    joined = [" ".join(sentences[start : start + 4]) for start in range(180)]
    words = [" ".join(["good", "bad", "pie"][index % 3] for index in range(length)) for length in range(1, 40)]
    return [*sentences, *joined, *words * 3]


def _has_equal_bits(engine: Engine, encoder: TextEncoder, texts: list[str]) -> bool:
    """Whether all texts get the same logits alone, in large batches, and in small ones in another order."""
    in_large_batches = score_texts(engine, encoder, texts, tokens_per_batch=TOKENS_PER_BATCH).logits
    alone = np.concatenate([score_texts(engine, encoder, [text]).logits for text in texts])
    equal = np.array_equal(in_large_batches, alone)
    lengths = encode(encoder, texts).lengths
    padded = round_up_lengths(lengths, max_tokens=encoder.max_tokens)
    assert len(set(padded)) > 5, "texts of several lengths"
    assert len(set(lengths)) > 3 * len(set(padded)), "are padded to one"
    for tokens_per_batch in (40, 64, 150, 500):
        in_small_batches = score_texts(engine, encoder, texts[::-1], tokens_per_batch=tokens_per_batch).logits[::-1]
        equal &= np.array_equal(in_small_batches, alone)
    return equal


def _says_invariant(engine: Engine, encoder: TextEncoder) -> bool:
    return passes_short_trial(engine, encoder, tokens_per_batch=TOKENS_PER_BATCH)


def test_fp32_gives_equal_bits_in_every_batch_on_every_processor(
    kernels: tuple[Engine, Engine], encoder: TextEncoder, texts: list[str]
) -> None:
    for engine in kernels:
        assert _has_equal_bits(engine, encoder, texts)
        assert _says_invariant(engine, encoder)


@pytest.mark.parametrize("name", ["fp32", "int8_weights"])
@pytest.mark.parametrize("precision", [None, "f32", "bf16"])
def test_an_openvino_engine_that_passes_the_trial_gives_equal_bits(
    models: dict[str, bytes], encoder: TextEncoder, texts: list[str], name: str, precision: str | None
) -> None:
    engine = OpenVinoEngine(models[name], 2, precision=precision)
    passes = _says_invariant(engine, encoder)
    assert _has_equal_bits(engine, encoder, texts) or not passes
    assert passes or examine()["has"]["amx_bf16"], "only AMX kernels change with the number of rows"


@pytest.mark.parametrize("num_rows", [2, 3, 4, 8, 9, 16, 17, 32, 33, 64, 65])
def test_kernels_that_change_with_the_number_of_rows_fail_the_trial(
    kernels: tuple[Engine, Engine], encoder: TextEncoder, num_rows: int
) -> None:
    assert not _says_invariant(TwoKernelEngine(*kernels, lambda ids: len(ids) >= num_rows), encoder)
    assert not _says_invariant(TwoKernelEngine(*kernels, lambda ids: len(ids) % num_rows == 0), encoder)
    assert not _says_invariant(TwoKernelEngine(*kernels, lambda ids: ids.size >= 16 * num_rows), encoder)


def test_a_trial_of_small_batches_says_nothing_of_large_ones(
    kernels: tuple[Engine, Engine], encoder: TextEncoder
) -> None:
    engine = TwoKernelEngine(*kernels, lambda ids: ids.size > 120)
    assert passes_short_trial(engine, encoder, tokens_per_batch=120)
    assert not passes_short_trial(engine, encoder, tokens_per_batch=TOKENS_PER_BATCH)


def test_a_predictor_asks_its_own_engine(
    bundle: Path, kernels: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack_bundle(bundle, engine="openvino", variant="fp32")
    for engine, expected in ((kernels[0], True), (TwoKernelEngine(*kernels, lambda ids: len(ids) > 1), False)):
        monkeypatch.setattr("sentiment_ray.inference.predictor.load_engine", lambda *_, engine=engine, **__: engine)
        assert Predictor(packed, threads=2).is_batch_invariant() is expected


def test_scores_of_an_engine_that_fails_the_trial_do_not_depend_on_what_was_scored_before(
    bundle: Path, everyday: list[tuple[str, str]], tmp_path: Path, ray_cluster: None
) -> None:
    """Two parts share most of their texts, which stand in other batches in each."""
    texts = [text for text, _ in everyday]
    (tmp_path / "rows").mkdir()
    for name, column in (("a", texts), ("b", [*texts[::2], *(text + " Never again!" for text in texts[:90])])):
        parquet.write_table(pa.table({"text": column}), tmp_path / f"rows/{name}.parquet")
    parts = []
    for max_cached_texts in (0, 1_000_000):
        output = tmp_path / f"scores-{max_cached_texts}"
        score_reviews(
            ScoreConfig(
                bundle=str(bundle),
                input=str(tmp_path / "rows"),
                output=str(output),
                engine="onnxruntime",
                variant="int8",
                num_workers=1,
                max_cached_texts=max_cached_texts,
            )
        )
        parts.append([path.read_bytes() for path in sorted(output.glob("*.parquet"))])
    assert len(parts[0]) == 2
    assert parts[0] == parts[1]
    assert compare_sample(str(output), str(bundle), rows=300)["largest_difference"] > 0
