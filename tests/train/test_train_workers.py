"""Real workers, which exchange gradients: they count as one worker does, and take the steps of one worker."""

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from sentiment_ray.train import loop
from sentiment_ray.train.config import Distill
from sentiment_ray.train.loop import fine_tune
from tests.train.training import break_row, copy_rows, make_config, make_reader, make_task, make_worker

ROWS = (1, 2, 3, 7, 50)
NUM_WORKERS = (1, 2, 3, 4)
NUM_STEPS = 3
MAX_STEP_WORKERS = 3
ALL_ROWS: dict[str, Any] = {"epochs": NUM_STEPS, "tokens_per_batch": 100_000, "learning_rate": 1e-3, "dropout": 0.0}
"""Keys of a training whose steps read all rows, so any number of workers must take the same steps."""
STEPS: dict[str, tuple[int, dict[str, Any]]] = {
    "many batches": (50, ALL_ROWS | {"tokens_per_batch": 64, "accumulation_steps": 100}),
    "fewer rows than workers": (2, ALL_ROWS),
    "frozen embeddings": (50, ALL_ROWS | {"tokens_per_batch": 64, "accumulation_steps": 100, "frozen_layers": 1}),
}


@pytest.fixture(scope="module")
def results(prepared: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 1, 2, 3 and 4 workers report of the same trainings."""
    directory = tmp_path_factory.mktemp("workers")
    for rows in ROWS:
        copy_rows(prepared, directory / f"{rows}-rows", rows)
    ports = list(_find_free_ports(len(NUM_WORKERS)))
    processes.spawn(_train_together, (ports, str(tiny_encoder), str(directory)), nprocs=max(NUM_WORKERS))
    return directory


def _find_free_ports(number: int) -> Iterator[int]:
    for _ in range(number):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            yield int(probe.getsockname()[1])


def _train_together(rank: int, ports: list[int], model: str, results: str) -> None:
    """Run one of four processes: 1, 2, 3 and 4 of them train together in turn."""
    torch.set_num_threads(1)
    for world_size in NUM_WORKERS[rank:]:
        method = f"tcp://127.0.0.1:{ports[world_size - 1]}"
        dist.init_process_group("gloo", init_method=method, rank=rank, world_size=world_size)
        for rows in ROWS:
            keys = {"epochs": 1, "learning_rate": 1e-12, "dropout": 0.0}
            line = _train(rank, world_size, Path(results, f"{rows}-rows"), Path(model), keys)
            Path(results, f"counts-{rows}-{world_size}-{rank}.json").write_text(json.dumps(line))
        for name, (rows, keys) in STEPS.items() if world_size <= MAX_STEP_WORKERS else ():
            with _record_gradients() as gradients:
                _train(rank, world_size, Path(results, f"{rows}-rows"), Path(model), keys)
            torch.save(gradients, Path(results, f"{name}-{world_size}-{rank}.pt"))
        if world_size == 2:
            keys = {"epochs": 1, "distill": Distill(scores="s")}
            line = _train(rank, 2, Path(results, "50-rows"), Path(model), keys, broken_row=3 if rank == 1 else None)
            Path(results, f"broken-{rank}.json").write_text(json.dumps(line))
        dist.destroy_process_group()


def _train(
    rank: int, world_size: int, reviews: Path, model: Path, keys: dict[str, Any], *, broken_row: int | None = None
) -> dict[str, Any]:
    """Train as one of the workers and return the metrics of the last epoch; the loss of a broken row is NaN."""
    reader = make_reader(reviews, rank, world_size)
    worker = make_worker(
        reader if broken_row is None else break_row(reader, broken_row),
        rank=rank,
        world_size=world_size,
        wrap=torch.nn.parallel.DistributedDataParallel,
    )
    return fine_tune(make_config(model, **keys), make_task(reviews), worker, None)[-1]


@contextmanager
def _record_gradients() -> Iterator[list[torch.Tensor]]:
    """Collect the gradient of every step before it is clipped, all parameters in one vector."""
    gradients: list[torch.Tensor] = []
    clip = loop.clip_gradients

    def record(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
        all_parameters = list(parameters)
        dense = [each.grad.to_dense().flatten() for each in all_parameters if each.grad is not None]
        gradients.append(torch.cat(dense))
        return clip(all_parameters, max_norm)

    loop.clip_gradients = record
    try:
        yield gradients
    finally:
        loop.clip_gradients = clip


@pytest.mark.parametrize("rows", ROWS)
def test_one_to_four_workers_report_the_same_counts(results: Path, rows: int) -> None:
    """With a learning rate of almost 0 the weights stay the same, so all counts must be equal."""
    exact = ("accuracy", "macro_f1", "f1", "rows", "tokens")
    paths = [results / f"counts-{rows}-{workers}-0.json" for workers in NUM_WORKERS]
    alone, *others = [json.loads(path.read_text()) for path in paths]
    for line in (alone, *others):
        assert line["train_rows"] == rows
        assert {key: line[key] for key in exact} == {key: alone[key] for key in exact}
        assert line["loss"] == pytest.approx(alone["loss"], abs=1e-5)
        assert line["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-6)


@pytest.mark.parametrize("world_size", range(2, MAX_STEP_WORKERS + 1))
@pytest.mark.parametrize("name", STEPS)
def test_workers_have_the_gradients_of_one_worker_in_every_step(results: Path, name: str, world_size: int) -> None:
    """The weights of a step come from the gradients before it, so equal gradients also show equal weights."""
    alone: list[torch.Tensor] = torch.load(results / f"{name}-1-0.pt")
    first, *others = [torch.load(results / f"{name}-{world_size}-{rank}.pt") for rank in range(world_size)]
    assert len(alone) == len(first) == NUM_STEPS
    for step, (expected, gradient) in enumerate(zip(alone, first, strict=True)):
        assert expected.norm() > 0.1
        assert (gradient - expected).norm() < (1e-3 if step else 1e-5) * expected.norm(), f"step {step}"
        assert all(torch.equal(gradient, other[step]) for other in others)
        assert step == 0 or (gradient - first[step - 1]).norm() > 0.03 * gradient.norm()  # the steps move the weights


def test_a_step_is_skipped_by_all_workers_when_the_loss_of_one_is_not_finite(results: Path) -> None:
    one, other = [json.loads((results / f"broken-{rank}.json").read_text()) for rank in (0, 1)]
    assert one["skipped_steps"] == other["skipped_steps"] == 1
    assert one["loss"] == other["loss"] < 2
    exact = ("accuracy", "macro_f1", "f1", "rows", "tokens")
    assert {key: one[key] for key in exact} == {key: other[key] for key in exact}
