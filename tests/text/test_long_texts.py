"""A bundle that reads long texts in windows gives the same scores, bit for bit, wherever it is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tokenizers import Tokenizer
from tokenizers.processors import BertProcessing

from export.build import export_bundle
from export.config import ExportConfig
from export.triton import write_triton
from sentiment_ray import Predictor
from sentiment_ray.bundle.manifest import compute_bundle_id
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.evaluate.evaluate import evaluate_bundle
from sentiment_ray.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from sentiment_ray.inference.engines.openvino_engine import OpenVinoEngine
from sentiment_ray.inference.scoring import compute_probabilities, score_texts
from sentiment_ray.inference.short_trial import passes_short_trial
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.text.encoding import encode, load_encoder
from sentiment_ray.text.truncation import HEAD, TokenWindows
from tests.conftest import LABELS, NASTY_TEXTS
from tests.hostile.damage import set_keys
from tests.serve.connect import connect

WINDOWS = TokenWindows(pooling="mean", overlap=0.25, max_windows=6)
CHOICE = {"engine": "onnxruntime", "variant": "fp32"}


@pytest.fixture(scope="module")
def windowed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose run reads texts in windows, each between two special tokens."""
    directory = tmp_path_factory.mktemp("windowed")
    shutil.copytree(run, directory / "run")
    trained = json.loads((directory / "run/run.json").read_text())
    trained["config"] |= {"truncation": "windows", "pooling": "mean", "window_overlap": 0.25, "max_windows": 6}
    (directory / "run/run.json").write_text(json.dumps(trained))
    path = directory / "run" / trained["best"]["checkpoint"] / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.post_processor = BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer.save(str(path))
    export_bundle(
        ExportConfig(
            run=str(directory / "run"), output=str(directory / "bundle"), variants=("fp32",), batch_rows=8, threads=2
        )
    )
    return directory / "bundle"


@pytest.fixture(scope="module")
def texts(everyday: list[tuple[str, str]]) -> list[str]:
    """Texts of one to a hundred real sentences, and nasty ones."""
    sentences = [text for text, _ in everyday]
    joined = [" ".join(sentences[start : start + count]) for start, count in enumerate([1, 3, 8, 20, 100] * 12)]
    return [*joined, *NASTY_TEXTS, "good"]


@pytest.fixture(scope="module")
def reader(windowed: Path) -> Predictor:
    return Predictor.load(windowed, threads=2, **CHOICE)


def test_the_bundle_names_its_truncation_and_its_id_depends_on_it(windowed: Path, bundle: Path) -> None:
    manifest, plain = open_bundle(windowed).manifest, open_bundle(bundle).manifest
    assert manifest.truncation == WINDOWS
    assert json.loads((windowed / "bundle.json").read_text())["truncation"] == {
        "mode": "windows",
        "pooling": "mean",
        "overlap": 0.25,
        "max_windows": 6,
    }
    assert plain.truncation == HEAD
    other = WINDOWS.model_copy(update={"pooling": "max"})
    identities = {
        compute_bundle_id(manifest.files, manifest.labels, 32, (), truncation) for truncation in (WINDOWS, other, HEAD)
    }
    assert manifest.bundle_id in identities
    assert len(identities) == 3
    assert "reads a text in up to 6 windows of 32 tokens" in (windowed / "README.md").read_text()


def test_an_old_bundle_without_a_truncation_reads_the_start(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "old")
    manifest = json.loads((tmp_path / "old/bundle.json").read_text())
    assert manifest.pop("truncation") == {"mode": "head"}
    (tmp_path / "old/bundle.json").write_text(json.dumps(manifest))
    assert open_bundle(tmp_path / "old").manifest == open_bundle(bundle).manifest


def test_a_long_text_has_the_mean_of_the_logits_of_its_windows(
    reader: Predictor, windowed: Path, texts: list[str]
) -> None:
    encoder = load_encoder(windowed / "tokenizer.json", max_tokens=32, truncation=WINDOWS)
    scores = reader.score(texts)
    for index, text in enumerate(texts):
        encoded = encode(encoder, [text])
        windows = [reader.loaded_engine.logits(ids[None], np.ones_like(ids[None]))[0] for ids in encoded.ids]
        logits = np.mean(windows, axis=0, dtype=np.float64).astype(np.float32)
        np.testing.assert_allclose(scores.logits[index], logits, atol=1e-6)
        assert scores.tokens[index] == sum(map(len, encoded.ids))
    assert np.array_equal(scores.probabilities, compute_probabilities(scores.logits))
    assert np.array_equal(scores.label_ids, scores.logits.argmax(axis=1))
    assert {bool(cut) for cut in scores.truncated[scores.tokens > 32]} == {True, False}


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_long_text_gets_the_same_bits_in_every_batch_in_fp32(windowed: Path, texts: list[str], name: str) -> None:
    model = open_bundle(windowed).model("fp32")
    engine = OpenVinoEngine(model, 2, precision="f32") if name == "openvino" else OnnxRuntimeEngine(model, 2)
    encoder = load_encoder(windowed / "tokenizer.json", max_tokens=32, truncation=WINDOWS)
    assert passes_short_trial(engine, encoder, tokens_per_batch=2048)
    in_large_batches = score_texts(engine, encoder, texts)
    alone = [score_texts(engine, encoder, [text]) for text in texts]
    in_small_batches = score_texts(engine, encoder, texts[::-1], tokens_per_batch=40)
    for column in ("logits", "probabilities", "tokens", "truncated", "unknown"):
        values = getattr(in_large_batches, column)
        assert np.array_equal(values, np.concatenate([getattr(scores, column) for scores in alone]))
        assert np.array_equal(values, getattr(in_small_batches, column)[::-1])


def test_a_text_is_yielded_as_soon_as_its_last_window_is_scored(reader: Predictor, texts: list[str]) -> None:
    indices = [batch.tolist() for batch, _ in reader.score_in_batches(texts, tokens_per_batch=64)]
    assert sorted(sum(indices, [])) == list(range(len(texts)))
    assert len(indices) > len(texts) / 3
    assert max(map(len, indices)) * 2 <= 64


def test_bulk_scoring_the_service_and_the_evaluation_agree_with_the_predictor(
    reader: Predictor, windowed: Path, texts: list[str], tmp_path: Path, ray_cluster: None
) -> None:
    expected = reader.score(texts)
    (tmp_path / "rows").mkdir()
    labels = [LABELS[row % 3] for row in range(len(texts))]
    rows = pa.table({"row": range(len(texts)), "text": texts, "label": labels})
    parquet.write_table(rows, tmp_path / "rows/rows.parquet", row_group_size=20)
    paths = {"bundle": str(windowed), "input": str(tmp_path / "rows")}
    score_reviews(ScoreConfig(**paths, output=str(tmp_path / "scores"), unit_rows=30, num_workers=2, **CHOICE))
    evaluate_bundle(EvaluateConfig(**paths, output=str(tmp_path / "evaluation"), examples=len(texts), **CHOICE))
    for files in (sorted((tmp_path / "scores").glob("*.parquet")), tmp_path / "evaluation/uncertain.parquet"):
        table = parquet.read_table(files).sort_by("row")
        for label, column in zip(LABELS, expected.probabilities.T, strict=True):
            assert np.array_equal(table[f"sentiment_{label}"].to_numpy(), column)
    scored = parquet.read_table(sorted((tmp_path / "scores").glob("*.parquet"))).sort_by("row")
    assert scored["sentiment_tokens"].to_pylist() == expected.tokens.tolist()
    assert scored["sentiment_truncated"].to_pylist() == expected.truncated.tolist()
    with connect(reader) as client:
        answers = client.post("/predict", json={"inputs": texts}).json()
    by_label = [{row["label"]: row["score"] for row in answer} for answer in answers]
    served = np.array([[row[label] for label in LABELS] for row in by_label], dtype=np.float32)
    assert np.array_equal(served, expected.probabilities)


def test_the_service_can_refuse_what_it_would_truncate_and_names_the_truncation(
    reader: Predictor, windowed: Path
) -> None:
    with connect(reader) as client:
        ask = {"truncate": False}
        assert client.post("/predict", json=ask | {"inputs": "tea " * 100}).status_code == 200
        refused = client.post("/predict", json=ask | {"inputs": "tea " * 1000})
        assert refused.status_code == 422
        assert "more than 6 windows of 32 tokens" in refused.json()["error"]
        assert client.get("/info").json()["truncation"]["mode"] == "windows"


def test_the_triton_repository_names_the_truncation(windowed: Path, tmp_path: Path) -> None:
    write_triton(open_bundle(windowed), tmp_path / "models", restart=False)
    config = (tmp_path / "models/sentiment_fp32/config.pbtxt").read_text()
    for key, value in WINDOWS.model_dump().items():
        assert f'key: "truncation_{key}" value {{ string_value: "{value}" }}' in config


@pytest.mark.parametrize("mode", ["head", "tail", "head_tail"])
def test_each_mode_reads_its_end_of_a_text(bundle: Path, tmp_path: Path, mode: str) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    set_keys(truncation={"mode": mode}, self_test=None)(tmp_path / "bundle")  # the self-test would fail
    predictor = Predictor.load(tmp_path / "bundle", threads=2, **CHOICE)
    middle = "tea " * 3000
    plain, other_start, other_end = predictor.score([middle, f"good {middle}", f"{middle}good"]).logits
    assert np.array_equal(plain, other_start) == (mode == "tail")
    assert np.array_equal(plain, other_end) == (mode == "head")
    assert predictor.score([middle]).truncated.all()
