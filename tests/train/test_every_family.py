"""Every kind of encoder trains, is exported, and answers through ONNX as its checkpoint does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from export.graph import export_graph
from export.held_out import TorchEngine
from sentiment_ray.bundle.model_config import FAMILIES
from sentiment_ray.inference.engines import load_engine
from sentiment_ray.inference.scoring import score_texts
from sentiment_ray.labels import label2id
from sentiment_ray.text.encoding import load_encoder
from sentiment_ray.train.batches import Chunk
from sentiment_ray.train.checkpoint import Progress, read_checkpoint
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.setup import Worker
from sentiment_ray.train.task import Task
from tests.conftest import LABELS
from tests.export.test_families import MORE
from tests.export.test_first_token import FAMILIES as TINY
from tests.export.test_first_token import SIZES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_and_its_onnx_file_answers_as_its_checkpoint(
    family: str, tiny_encoder: Path, everyday: list[tuple[str, str]], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    sizes = SIZES | (TINY | MORE)[family] | {"vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    rows = {"train": everyday[:80], "validation": everyday[80:110]}

    def read_chunks(split: str, num_rows: int, order: int) -> Iterator[Chunk]:
        for start in range(0, len(rows[split]), num_rows):
            texts, labels = zip(*rows[split][start : start + num_rows], strict=True)
            yield Chunk(list(texts), np.array([label2id(LABELS)[label] for label in labels]))

    def report(checkpoint: Path | None, name: str, progress: Progress, score: float | None) -> None:
        assert checkpoint
        checkpoint.rename(tmp_path / name)
        checkpoint.mkdir()  # the loop removes it

    worker = Worker(
        rank=0, world_size=1, device=torch.device("cpu"), read_chunks=read_chunks,
        wrap=lambda model: model, report=report, show=lambda epochs_done, loss: None,
    )  # fmt: skip
    config = TrainConfig(
        prepared="p", model=str(tmp_path / "encoder"), output="o", epochs=2, learning_rate=3e-3, max_tokens=32,
        tokens_per_batch=256, dropout=0.0, precision="fp32", contrastive_weight=1.0,
    )  # fmt: skip
    first, last = fine_tune(config, Task(LABELS, [1.0] * 3, 80), worker, None)
    assert last["loss"] < first["loss"]
    checkpoint = tmp_path / "epoch-2"
    assert read_checkpoint(checkpoint)
    export_graph(checkpoint, tmp_path / "model.onnx")
    engine = load_engine("onnxruntime", (tmp_path / "model.onnx").read_bytes(), threads=2, source=family)
    encoder = load_encoder(checkpoint / "tokenizer.json", max_tokens=32)
    texts = [text for text, _ in everyday[110:150]]
    expected = score_texts(TorchEngine(checkpoint), encoder, texts)
    np.testing.assert_allclose(score_texts(engine, encoder, texts).logits, expected.logits, atol=1e-4)
