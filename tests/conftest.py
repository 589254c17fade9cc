"""What tests share: one small Ray cluster, and one chain of real artefacts, prepared → run → bundle → scores."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.thread_waiting import let_waiting_threads_sleep

ROOT = Path(__file__).parent.parent
LABELS = ("negative", "neutral", "positive")
EXPORT = {"variants": ("fp32", "optimized", "fp16", "int8_weights", "int8"), "max_batch_flips": 5, "threads": 2}
SIMULATION = ROOT / "tests/score/test_simulation.py"
SLOW_TEST_S = 4 * 3600
"""The longest that a test of `make test-slow` may take; for other tests pyproject.toml says it."""
NASTY_TEXTS = (
    "x",
    "word " * 10_000,
    "x" * 100_000,
    "I ❤️ it 👍🏽",
    "هذا منتج رائع",
    "nul \x00 inside",
    "\u202eright to left",
    "line\nbreak\ttab",
)


def pytest_configure() -> None:
    """Set what torch reads when it is loaded, before a test loads it."""
    let_waiting_threads_sleep()


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the first process of `make test`, those that kill, and the time limit of slow ones.

    `make test` runs two processes of about equal length, because the tests of one cluster leave a third of two cores
    idle. The first has the tests of the cluster but for those of training, and the simulation.
    `make test-kills` runs the tests that kill processes of another cluster.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "two_nodes" in fixtures:
            item.add_marker(pytest.mark.kills)
        is_training = item.path.is_relative_to(ROOT / "tests/train")
        if ("ray_cluster" in fixtures and not is_training) or item.path == SIMULATION:
            item.add_marker(pytest.mark.first_process)
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TEST_S))


def make_in_chain(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make an artefact of the chain in the directory that all of them share, and return its path."""
    path = factory.getbasetemp() / "chain" / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    return path


@pytest.fixture
def free_ports() -> list[int]:
    """Four ports on loopback on which nobody listens."""
    return [find_free_port() for _ in range(4)]


def find_free_port() -> int:
    """A port on loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket on an S3-compatible server that listens on loopback."""
    port = find_free_port()
    command = [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="nobody",
        AWS_SECRET_ACCESS_KEY="nothing",
        AWS_DEFAULT_REGION="us-east-1",
    )
    import s3fs

    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    for _ in range(150):
        try:
            fs.mkdir("reviews")
            break
        except OSError:
            time.sleep(0.2)
    yield "s3://reviews"
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def ray_cluster(s3: str) -> Iterator[None]:
    """A cluster of two CPUs on this machine; stages that connect find it, and its workers find the bucket.

    Processes that are idle stay for the next test, with all that they have imported: tests start half as many.
    """
    import ray

    from sentiment_ray.cluster import end_cluster

    os.environ.setdefault("RAY_worker_niceness", "0")  # as in the clusters that the jobs start
    before = psutil.Process().children()
    keep_idle = {"num_workers_soft_limit": 8, "idle_worker_killing_time_threshold_ms": 600_000}
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=0,
        object_store_memory=200e6,
        include_dashboard=False,
        _system_config=keep_idle,
    )
    started = [child for child in psutil.Process().children() if child not in before]
    yield
    end_cluster(started)


@pytest.fixture(scope="session")
def everyday() -> list[tuple[str, str]]:
    """Real short sentences with their labels."""
    rows = []
    for line in (ROOT / "jobs/configs/everyday.jsonl").read_text(encoding="utf-8").splitlines():
        _, user, assistant = json.loads(line)["messages"]
        rows.append((user["content"], assistant["content"].lower()))
    return rows


def word_pieces(texts: list[str], size: int) -> list[str]:
    """Return the special tokens, the letters and the most frequent words: the same on every machine.

    The trainer of `tokenizers` breaks ties by the order of a hash table, so it makes other pieces in every process.
    """
    words = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    frequent = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    return (pieces + frequent)[:size]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, everyday: list[tuple[str, str]]) -> Path:
    """A real BERT of two layers and width 32 with random weights, and word pieces of real sentences, without [CLS]."""
    pieces = word_pieces([text for text, _ in everyday], 600)
    return make_in_chain(tmp_path_factory, "tiny-encoder", lambda directory: write_tiny_encoder(directory, pieces))


def write_tiny_encoder(directory: Path, pieces: list[str], *, max_positions: int = 64) -> None:
    """Write a BERT of two layers and width 32 with seeded random weights, and its tokenizer."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel, BertTokenizerFast

    tokenizer = BertWordPieceTokenizer(lowercase=True)._tokenizer
    tokenizer.model = WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]")
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_positions,
    )
    BertModel(config).save_pretrained(directory, safe_serialization=True)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """The everyday sentences, prepared from their chat format."""
    from sentiment_ray.data.config import PrepareConfig
    from sentiment_ray.data.prepare import prepare_reviews

    source = {"path": str(ROOT / "jobs/configs/everyday.jsonl"), "format": "chat"}
    keys: dict[str, Any] = {"sources": [source], "validation_share": 0.15, "test_share": 0.15}
    return make_in_chain(
        tmp_path_factory, "prepared", lambda output: prepare_reviews(PrepareConfig(output=str(output), **keys))
    )


@pytest.fixture(scope="session")
def run(prepared: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder, fine-tuned for three epochs by two Ray Train workers."""
    from sentiment_ray.train.config import TrainConfig
    from sentiment_ray.train.trainer import train_encoder

    keys: dict[str, Any] = {
        "prepared": str(prepared),
        "model": str(tiny_encoder),
        "epochs": 3,
        "learning_rate": 3e-3,
        "tokens_per_batch": 256,
        "max_tokens": 32,
        "dropout": 0.0,
        "num_workers": 2,
        "cpus_per_worker": 1.0,  # both that there are: the reader must do without
        "keep_checkpoints": 2,
    }
    return make_in_chain(tmp_path_factory, "run", lambda output: train_encoder(TrainConfig(output=str(output), **keys)))


@pytest.fixture(scope="session")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's best checkpoint, exported in the variants that are made unasked, and one that looks at its batch."""
    from export.build import export_bundle
    from export.config import ExportConfig

    return make_in_chain(
        tmp_path_factory,
        "bundle",
        lambda output: export_bundle(ExportConfig(run=str(run), output=str(output), **EXPORT)),
    )


@pytest.fixture(scope="session")
def predictor(bundle: Path) -> Predictor:
    """The bundle as an application loads it, on the file that is exact."""
    return Predictor.load(bundle, engine="onnxruntime", variant="fp32", threads=2)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, everyday: list[tuple[str, str]]) -> Path:
    """Reviews in Hive partitions, with other columns, several row groups, and three rows that cannot be scored."""
    return make_in_chain(tmp_path_factory, "corpus", lambda directory: _write_corpus(directory, everyday))


def _write_corpus(directory: Path, everyday: list[tuple[str, str]]) -> None:
    texts: list[str | None] = [text for text, _ in everyday] + list(NASTY_TEXTS)
    for year, start in ((2024, 0), (2025, 200)):
        part = texts[start : start + 200] + ([None, "", " \t"] if year == 2025 else [])
        table = pa.table(
            {"review_id": [f"{year}-{index}" for index in range(len(part))], "body": part, "stars": [3] * len(part)}
        )
        (directory / f"year={year}").mkdir(parents=True)
        parquet.write_table(table, directory / f"year={year}/reviews.parquet", row_group_size=50)


@pytest.fixture(scope="session")
def scores(bundle: Path, corpus: Path, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, scored by two actors."""
    from sentiment_ray.score.config import ScoreConfig
    from sentiment_ray.score.score import score_reviews

    keys: dict[str, Any] = {
        "bundle": str(bundle),
        "input": str(corpus),
        "text_column": "body",
        "unit_rows": 100,
        "num_workers": 2,
        "engine": "onnxruntime",
        "variant": "fp32",
    }
    return make_in_chain(
        tmp_path_factory, "scores", lambda output: score_reviews(ScoreConfig(output=str(output), **keys))
    )
