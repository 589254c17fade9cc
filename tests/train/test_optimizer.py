"""Only the used rows of the word embeddings are updated, and gradients are clipped as torch clips them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.model import load_model
from sentiment_ray.train.optimizer import build_optimizers, clip_gradients, parameter_groups, update_weights

CPU = torch.device("cpu")


def _config(**keys: float) -> TrainConfig:
    return TrainConfig(prepared="p", model="m", output="o", learning_rate=1e-3, **keys)


def _model(tiny_encoder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    return load_model(str(tiny_encoder), ("bad", "fair", "good"), dropout=0.0, device=CPU)


def _lose(model: torch.nn.Module, input_ids: torch.Tensor) -> None:
    # A large loss: the two Adams add their 1e-8 to the divisor at different points, which matters for small gradients.
    (1e6 * model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits.square().sum()).backward()


def _step(model: torch.nn.Module, optimizers: tuple[torch.optim.Optimizer, ...], input_ids: torch.Tensor) -> None:
    _lose(model, input_ids)
    clip_gradients(model.parameters(), 1e12)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def test_a_step_equals_one_of_adamw_and_moves_only_the_embedding_rows_of_its_words(tiny_encoder: Path) -> None:
    sparse, dense = _model(tiny_encoder), _model(tiny_encoder)
    before = sparse.get_input_embeddings().weight.detach().clone()
    words = torch.tensor([[7, 9, 9, 300], [7, 21, 500, 3]])
    _step(sparse, build_optimizers(sparse, _config(weight_decay=0.0), CPU), words)
    _step(dense, (torch.optim.AdamW(dense.parameters(), lr=1e-3, weight_decay=0.0),), words)
    for (name, parameter), expected in zip(sparse.named_parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(
            parameter, expected, atol=2e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )
    moved = (sparse.get_input_embeddings().weight != before).any(dim=1).nonzero().squeeze(1)
    assert moved.tolist() == words.unique().tolist()


def test_the_embedding_row_of_an_absent_word_stays_unchanged(tiny_encoder: Path) -> None:
    model = _model(tiny_encoder)
    optimizers = build_optimizers(model, _config(), CPU)
    _step(model, optimizers, torch.tensor([[7, 9]]))
    weight = model.get_input_embeddings().weight
    absent, present = weight[7].clone(), weight[11].clone()
    _step(model, optimizers, torch.tensor([[11, 9]]))
    assert torch.equal(weight[7], absent)
    assert not torch.equal(weight[11], present)


def test_frozen_word_embeddings_have_no_optimizer(tiny_encoder: Path) -> None:
    model = _model(tiny_encoder)
    model.get_input_embeddings().weight.requires_grad = False
    assert len(build_optimizers(model, _config(), CPU)) == 1


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e12])
def test_sparse_gradients_count_in_the_norm(tiny_encoder: Path, max_norm: float) -> None:
    words = torch.tensor([[7, 9, 9, 300], [7, 21, 500, 3]])
    sparse, dense = _model(tiny_encoder), _model(tiny_encoder)
    sparse.get_input_embeddings().sparse = True
    for model in (sparse, dense):
        _lose(model, words)
    clip_gradients(sparse.parameters(), max_norm)
    torch.nn.utils.clip_grad_norm_(dense.parameters(), max_norm)
    for clipped, expected in zip(sparse.parameters(), dense.parameters(), strict=True):
        assert clipped.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(clipped.grad.to_dense() if clipped.grad.is_sparse else clipped.grad, expected.grad)


class OnGpu(torch.Tensor):
    """A tensor that says that it is on a GPU, where fused AdamW decides by itself whether it takes a step."""

    is_cuda = True


@pytest.mark.parametrize("kind", [torch.Tensor, OnGpu])
def test_a_step_that_is_not_finite_changes_neither_weights_nor_state(
    tiny_encoder: Path, kind: type[torch.Tensor]
) -> None:
    words = torch.tensor([[7, 9, 9, 300]])
    model, expected = _model(tiny_encoder), _model(tiny_encoder)
    for trained, outcomes in ((model, (True, False, True)), (expected, (True, True))):
        if kind is OnGpu:
            optimizers: Any = (torch.optim.AdamW(parameter_groups(trained, _config()), lr=1e-3, fused=True),)
        else:
            optimizers = build_optimizers(trained, _config(), CPU)
        for is_finite in outcomes:
            _lose(trained, words)
            for parameter in trained.parameters() if not is_finite else ():
                parameter.grad = None if parameter.grad is None else parameter.grad * float("nan")
            norm = clip_gradients(trained.parameters(), 1.0)
            assert bool(norm.isfinite()) == is_finite
            update_weights(optimizers, norm.isfinite().as_subclass(kind), learning_rate=1e-3)
    for weight, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(weight, other)
