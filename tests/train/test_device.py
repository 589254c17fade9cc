"""What training does for a GPU, as far as a machine without one can tell; a CPU computes as before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sentiment_ray.text.truncation import HEAD
from sentiment_ray.train.baseline import base_model_metrics, checkpoint_metrics
from sentiment_ray.train.device import copy_together, prepare_device, seed_generators
from sentiment_ray.train.loop import fine_tune
from sentiment_ray.train.setup import set_up_training
from sentiment_ray.train.validation import measure_validation_split
from tests.conftest import LABELS
from tests.train.training import CheckpointStore, Train, make_config, make_reader, make_task, make_worker

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def cudnn_attention() -> Iterator[None]:
    """Begin with torch's default, and restore what was set before."""
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_a_gpu_gets_no_attention_that_plans_for_each_shape(cudnn_attention: None) -> None:
    prepare_device(CPU)
    assert torch.backends.cuda.cudnn_sdp_enabled()
    prepare_device(CUDA)
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.cuda.mem_efficient_sdp_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is refused here would succeed")
@pytest.mark.parametrize("what", ["a training", "the base model", "a checkpoint"])
def test_what_computes_on_a_gpu_prepares_it_and_goes_there(
    cudnn_attention: None, prepared: Path, tiny_encoder: Path, train: Train, store: CheckpointStore, what: str
) -> None:
    train(epochs=1, tokens_per_batch=2048)
    split = prepared / "validation"
    with pytest.raises((AssertionError, RuntimeError), match="CUDA"):
        if what == "a training":
            worker = make_worker(make_reader(prepared), device=CUDA)
            fine_tune(make_config(tiny_encoder), make_task(prepared), worker, None)
        elif what == "the base model":
            base_model_metrics(str(tiny_encoder), split, LABELS, max_tokens=32, use_gpu=True)
        else:
            checkpoint_metrics(store.paths[-1], split, LABELS, max_tokens=32, truncation=HEAD, use_gpu=True)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


class _CountedReads(TorchDispatchMode):
    """Counts the numbers that are read from a tensor; each of them waits for a GPU."""

    num_reads = 0

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        self.num_reads += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*arguments, **named or {})


def test_the_validation_split_is_measured_without_a_number_that_is_read_of_each_batch(
    prepared: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    num_reads = []
    for tokens in (32, 4096):
        config = make_config(tiny_encoder, tokens_per_batch=tokens)
        training = set_up_training(config, make_task(prepared), make_worker(make_reader(prepared)), None, tmp_path)
        with _CountedReads() as counted:
            measure_validation_split(training)
        num_reads.append(counted.num_reads)
    assert num_reads[0] == num_reads[1] < 5


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_random_numbers_are_those_of_manual_seed(seed: int) -> None:
    def draw() -> list[torch.Tensor]:
        return [torch.rand(9), torch.randn(9), torch.empty(9, dtype=torch.int64).random_(-(2**63), None)]

    torch.manual_seed(seed)
    expected = draw()
    torch.rand(5)
    seed_generators(seed, CPU)
    assert all(torch.equal(one, other) for one, other in zip(draw(), expected, strict=True))


@pytest.mark.parametrize("shapes", [[(3, 4), (3, 4), (3,), (2,)], [(1, 1)], [(0,), (5,), (0, 3)]])
def test_tensors_that_are_copied_together_keep_their_values_and_share_one_copy(shapes: list[tuple[int, ...]]) -> None:
    tensors = [torch.randint(-100, 100, shape) for shape in shapes]
    copies = copy_together(tensors, CPU)
    for tensor, copied in zip(tensors, copies, strict=True):
        assert torch.equal(copied, tensor)
        assert copied.dtype == tensor.dtype
        assert copied.is_contiguous()
    assert len({copied.untyped_storage().data_ptr() for copied in copies}) == 1
    assert copies[-1].data_ptr() != tensors[-1].data_ptr() or not tensors[-1].numel()
