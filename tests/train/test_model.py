"""The model as it is trained gives the logits and gradients of the model as transformers builds it."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from sentiment_ray.train.model import BUILT_LIKE_BERT, keep_first_token, load_model
from tests.export.test_first_token import SIZES, USUAL


@pytest.mark.parametrize(
    ("family", "attention"),
    [(family, attention) for family in BUILT_LIKE_BERT for attention in ("eager", "sdpa")][:-1],  # ELECTRA has no sdpa
)
def test_a_last_layer_for_the_first_token_alone_changes_no_logit_and_no_gradient(
    family: str, attention: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **USUAL)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    plain, trained = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path, attn_implementation=attention) for _ in range(2)
    )
    keep_first_token(trained)
    input_ids = torch.randint(5, config.vocab_size, (4, 9))
    attention_mask = (torch.arange(9) < torch.tensor([9, 5, 3, 1]).unsqueeze(1)).long()
    results = []
    for model in (plain, trained):
        model.eval()
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
        logits.square().sum().backward()
        results.append((logits, {name: value.grad for name, value in model.named_parameters()}))
    (expected, gradients), (logits, found) = results
    torch.testing.assert_close(logits, expected)
    assert found.keys() == gradients.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, gradients[name], msg=lambda text, name=name: f"{name}: {text}")
    shapes = []
    last = trained.base_model.encoder.layer[-1]
    last.register_forward_hook(lambda _, __, output: shapes.append(output[0].shape))
    trained(input_ids=input_ids, attention_mask=attention_mask)
    assert shapes == [(4, 1, config.hidden_size)]


@pytest.mark.parametrize("family", BUILT_LIKE_BERT)
def test_bf16_flows_between_the_layers_and_the_logits_stay_near_those_of_fp32(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **USUAL)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), ("bad", "fair", "good"), dropout=0.0, device=torch.device("cpu"))
    encoder = model.base_model.encoder
    seen: list[torch.dtype] = []
    for layer in encoder.layer:
        layer.register_forward_hook(lambda _, __, output: seen.append(output[0].dtype))
    input_ids = torch.randint(5, config.vocab_size, (4, 9))
    attention_mask = (torch.arange(9) < torch.tensor([9, 5, 3, 1]).unsqueeze(1)).long()
    expected = model(input_ids=input_ids, attention_mask=attention_mask).logits
    assert set(seen) == {torch.float32}
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    assert set(seen) == {torch.bfloat16}
    torch.testing.assert_close(logits.float(), expected, atol=0.02, rtol=0.05)
    logits.float().square().sum().backward()
    assert all(value.grad.dtype == torch.float32 for value in model.parameters() if value.grad is not None)
