"""A student learns from the scores that a teacher gave to unlabelled reviews."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from export.held_out import TorchEngine
from sentiment_ray import Predictor
from sentiment_ray.errors import DataError, MissingExtraError
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.manifest import read_json
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.train.batches import NO_LABEL
from sentiment_ray.train.config import Distill, TrainConfig
from sentiment_ray.train.loss import distillation_loss
from sentiment_ray.train.rows import build_chunk
from sentiment_ray.train.teacher import find_teacher_rows
from sentiment_ray.train.trainer import train_encoder
from tests.conftest import LABELS


@pytest.fixture(scope="module")
def teacher_scores(bundle: Path, everyday: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real sentences, each with four different beginnings, scored by the bundle."""
    directory = tmp_path_factory.mktemp("teacher")
    texts = [f"{start} {text}".strip() for start in ("", "Well,", "So,", "Today:") for text, _ in everyday]
    parquet.write_table(pa.table({"body": texts}), directory / "reviews.parquet")
    config = ScoreConfig(
        bundle=str(bundle), input=str(directory / "reviews.parquet"), output=str(directory / "scores"),
        text_column="body", engine="onnxruntime", variant="fp32",
    )  # fmt: skip
    score_reviews(config)
    return directory / "scores"


def test_a_student_learns_the_answers_of_its_teacher(
    run: Path, prepared: Path, teacher_scores: Path, bundle: Path, tmp_path: Path, ray_cluster: None
) -> None:
    keys = read_json(run / "run.json")["config"] | {"num_workers": 1, "epochs": 1}
    distill = {"scores": str(teacher_scores), "text_column": "body", "temperature": 2.0, "weight": 1.0}
    train_encoder(TrainConfig(**keys | {"output": str(tmp_path / "run"), "distill": distill}))
    manifest = read_json(tmp_path / "run/run.json")
    scored = parquet.read_table(teacher_scores)["body"].to_pylist()
    splits = {name: parquet.read_table(prepared / name)["text"].to_pylist() for name in ("train", "validation", "test")}
    left_out = {name: sum(text in splits[name] for text in scored) for name in ("validation", "test")}
    assert all(left_out.values())
    assert manifest["teacher_rows_left_out"] == left_out
    rows = len(splits["train"]) + len(scored) - sum(left_out.values())
    assert manifest["history"][0]["train_rows"] == rows
    assert manifest["made_from"]["teacher"] == read_json(teacher_scores / "_MANIFEST.json")["fingerprint"]
    texts = splits["test"]
    teacher = Predictor.load(bundle, engine="onnxruntime", variant="fp32").score(texts).probabilities
    checkpoint = tmp_path / "run" / manifest["best"]["checkpoint"]
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=32)
    student = score_texts(TorchEngine(checkpoint), encoder, texts).probabilities
    assert np.abs(student - teacher).mean() < np.abs(teacher - 1 / 3).mean() / 2


def test_the_distillation_loss_is_that_of_hinton_and_zero_for_rows_that_were_not_scored() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0], [0.3, 0.2, 0.1]])
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 0.0]])
    losses = distillation_loss(logits, teacher, temperature=2.0)
    soft = teacher[0].double() ** 0.5
    soft /= soft.sum()
    student = (logits[0].double() / 2).log_softmax(0)
    assert losses[0].item() == pytest.approx(4 * float((soft * (soft.log() - student)).sum()), abs=1e-6)
    assert losses[1].item() == 0
    exact = (torch.log(teacher[:1]) + 3.0).requires_grad_()
    distillation_loss(exact, teacher[:1], temperature=2.0).sum().backward()
    assert exact.grad is not None
    assert exact.grad.abs().max() < 1e-6


def test_a_chunk_holds_labels_where_there_are_labels_and_scores_where_there_are_scores() -> None:
    table = pa.table({"text": ["a", "b"], "label": ["positive", None], "teacher": [None, [0.1, 0.2, 0.7]]})
    chunk = build_chunk(table, LABELS)
    assert chunk.label_ids.tolist() == [2, NO_LABEL]
    assert chunk.teacher is not None
    np.testing.assert_allclose(chunk.teacher, [[0, 0, 0], [0.1, 0.2, 0.7]], atol=1e-7)
    assert build_chunk(table.slice(0, 1), LABELS).teacher is None


def test_an_old_run_is_kept_when_the_input_of_the_new_one_is_wrong(
    run: Path, prepared: Path, teacher_scores: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    keys = read_json(run / "run.json")["config"] | {"output": str(tmp_path / "run"), "restart": True}
    for wrong, error in (
        ({"distill": {"scores": str(teacher_scores)}}, DataError),
        ({"track": "mlflow", "epochs": 1}, MissingExtraError),
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(error):
            patch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
            train_encoder(TrainConfig(**keys | wrong))
    assert read_json(tmp_path / "run/run.json") == read_json(run / "run.json")


def test_scores_of_another_column_or_without_a_label_are_refused(teacher_scores: Path) -> None:
    with pytest.raises(DataError, match="scored body: its probabilities belong to another text"):
        find_teacher_rows(Distill(scores=str(teacher_scores)), LABELS)
    with pytest.raises(DataError, match="has no column 'sentiment_splendid'"):
        find_teacher_rows(Distill(scores=str(teacher_scores), text_column="body"), (*LABELS, "splendid"))
