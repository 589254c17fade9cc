"""Infinity's engine in this process, as documented: its batches of 32, without its server.

https://michaelfeil.eu/infinity/latest/python_engine/. It cuts texts at the limit in
the tokenizer's configuration, so it gets a copy of the checkpoint with the bundle's `max_tokens` as that limit.
"""

import asyncio
import json
import tempfile
from pathlib import Path

import torch
from contender import Task
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
from prediction import Answers, Loaded, Padding, measure


def load(task: Task) -> Loaded:
    """Start the engine and its threads."""
    torch.set_num_threads(task.threads)
    arguments = EngineArgs(
        model_name_or_path=str(with_max_tokens(task)), device="cpu", trust_remote_code=False, model_warmup=False
    )
    loop = asyncio.new_event_loop()
    engine = AsyncEmbeddingEngine.from_args(arguments)
    loop.run_until_complete(engine.astart())

    def predict(texts: list[str]) -> Answers:
        answers, _ = loop.run_until_complete(engine.classify(sentences=texts))
        best = [max(classes, key=lambda answer: answer["score"]) for classes in answers]
        return [answer["label"] for answer in best], [answer["score"] for answer in best]

    return Loaded(predict, Padding().share, close=lambda: loop.run_until_complete(engine.astop()))


def with_max_tokens(task: Task) -> Path:
    """Return a directory of links to the checkpoint, with the bundle's `max_tokens` as the tokenizer's limit."""
    directory = Path(tempfile.mkdtemp())
    for path in Path(task.checkpoint).iterdir():
        (directory / path.name).symlink_to(path)
    tokenizer = directory / "tokenizer_config.json"
    settings = json.loads(tokenizer.read_text(encoding="utf-8")) | {"model_max_length": task.max_tokens}
    tokenizer.unlink()
    tokenizer.write_text(json.dumps(settings), encoding="utf-8")
    return directory


if __name__ == "__main__":
    measure(__doc__, load)
