"""The fast dropout drops the right share, keeps the expected sum, and uses one mask for values and gradient."""

import copy

import pytest
import torch

from sentiment_ray.train.dropout import fast_dropout, use_fast_dropout


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_the_configured_share_is_dropped_and_the_expected_sum_stays(share: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(1000, 1001, requires_grad=True)
    left = fast_dropout(values, share)
    left.sum().backward()
    out = float((left == 0).double().mean())
    assert out == pytest.approx(min(max(round(share * 256), 1), 255) / 256, abs=0.002)
    assert float(left.double().mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(values.grad, left), "the gradient has a different mask"
    # Every byte of a random word drops the same share.
    assert torch.allclose(
        (left.flatten()[:1_000_000].view(-1, 8) == 0).double().mean(0), torch.tensor(out).double(), atol=0.01
    )


def test_modules_follow_the_seed_and_drop_nothing_in_evaluation() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Dropout(0.25), torch.nn.Dropout(0.0))
    plain = copy.deepcopy(model)
    use_fast_dropout(model)
    values = torch.randn(32, 64)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(copy.deepcopy(model)(values))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert float((results[0] == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(model.eval()(values), plain.eval()(values))
