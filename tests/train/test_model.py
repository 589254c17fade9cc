"""The model as it is trained gives the logits and gradients of the model as transformers builds it."""

import json
import shutil
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from sentiment_ray.bundle.model_config import FAMILIES, known_keys
from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.patches import BUILT_LIKE_BERT, compute_first_token_only
from sentiment_ray.pretrained.tokenizer_files import load_tokenizer_files
from sentiment_ray.train import precision
from sentiment_ray.train.embedding import embed_texts
from sentiment_ray.train.model import (
    choose_trained,
    load_model,
    merge_additions,
)
from sentiment_ray.train.precision import use_bf16
from tests.export.test_families import MORE
from tests.export.test_first_token import FAMILIES as TINY
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
    compute_first_token_only(trained)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_low_rank_additions_leave_the_whole_head_to_be_trained(family: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **SIZES | (TINY | MORE)[family])).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), ("bad", "fair", "good"), dropout=0.0, device=torch.device("cpu"))
    shapes = {name: value.shape for name, value in loaded.named_parameters()}
    head = {name for name in shapes if not name.startswith(f"{loaded.base_model_prefix}.")}
    trained = choose_trained(loaded, frozen_layers=0, lora_rank=2)
    learned = [name for name, value in trained.named_parameters() if value.requires_grad]
    found = {name.removeprefix("base_model.model.").replace("modules_to_save.default.", "") for name in learned}
    assert {name for name in found if "lora_" not in name} == head
    assert any("lora_" in name for name in found)
    assert not any(
        name.startswith(tuple(part.split(".")[0] + "." for part in head)) for name in found if "lora_" in name
    )
    ids = torch.randint(5, 40, (4, 9))
    trained(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    assert all(value.grad is not None for value in trained.parameters() if value.requires_grad)
    assert {name: value.shape for name, value in merge_additions(trained).named_parameters()} == shapes


def test_frozen_layers_take_along_what_they_share(tmp_path: Path) -> None:
    AutoModel.from_config(AutoConfig.for_model("mpnet", **SIZES | (TINY | MORE)["mpnet"])).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), ("bad", "good"), dropout=0.0, device=torch.device("cpu"))
    trained = choose_trained(loaded, frozen_layers=1, lora_rank=None)
    assert not trained.get_parameter("mpnet.encoder.relative_attention_bias.weight").requires_grad
    assert trained.get_parameter("mpnet.encoder.layer.1.output.dense.weight").requires_grad


def test_a_model_that_was_fine_tuned_for_other_labels_gets_a_new_head(tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("bert", **SIZES | USUAL | {"num_labels": 5})
    ).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), ("bad", "fair", "good"), dropout=0.0, device=torch.device("cpu"))
    assert loaded.classifier.weight.shape[0] == 3


def test_what_an_earlier_task_left_in_a_configuration_is_forgotten(tiny_encoder: Path, tmp_path: Path) -> None:
    """Else the first step fails, or the export refuses what took hours to train."""
    size = len(AutoTokenizer.from_pretrained(tiny_encoder))
    config = AutoConfig.for_model("bert", **SIZES | USUAL | {"vocab_size": size})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "model")
    file = tmp_path / "model/config.json"
    left = {
        "_num_labels": 5, "problem_type": "regression", "task_specific_params": {"a": 1}, "language": "en",
        "output_attentions": True, "output_hidden_states": True, "return_dict": False, "torchscript": True,
        "sentence_transformers": {"version": "5.0"},
    }  # fmt: skip
    file.write_text(json.dumps(json.loads(file.read_text()) | left))
    loaded = load_model(str(tmp_path / "model"), ("bad", "fair", "good"), dropout=None, device=torch.device("cpu"))
    ids = torch.randint(5, 40, (2, 5))
    assert loaded(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape == (2, 3)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "model")
    assert embed_texts(str(tmp_path / "model"), ["good"], 8).shape == (1, USUAL["hidden_size"])
    loaded.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/config.json").read_text())
    assert not saved.keys() - known_keys("bert")
    assert saved.get("problem_type") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_weights_that_are_not_there_are_named_and_no_others(family: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(family, **SIZES | (TINY | MORE)[family])
    model = AutoModel.from_config(config)
    model.save_pretrained(tmp_path / "whole")
    load_model(str(tmp_path / "whole"), ("bad", "good"), dropout=None, device=torch.device("cpu"))
    shutil.copytree(tmp_path / "whole", tmp_path / "wrapped")
    weights = load_file(tmp_path / "whole/model.safetensors")
    one = next(name for name in weights if ".att" in name and name.endswith(".weight"))
    for kept, found in (
        (
            {f"module.{name}": value for name, value in weights.items()},
            "saved under other names than transformers reads",
        ),
        ({name: value for name, value in weights.items() if name != one}, f"of its encoder's weights 1 .*{one}"),
    ):
        save_file(kept, tmp_path / "wrapped/model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ConfigError, match=found):
            load_model(str(tmp_path / "wrapped"), ("bad", "good"), dropout=None, device=torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_trained_in_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = AutoModel.from_config(AutoConfig.for_model("bert", **SIZES, **USUAL)).to(dtype)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    loaded = load_model(str(tmp_path), ("bad", "good"), dropout=None, device=torch.device("cpu"))
    for name, value in model.named_parameters():
        trained = loaded.get_parameter(f"bert.{name}")
        assert trained.dtype == torch.float32
        assert torch.equal(trained, value.float())


def test_a_name_that_neither_a_directory_nor_the_hub_has_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="'models/minilm' is not what a directory here or the Hub can give"):
        load_tokenizer_files("models/minilm", tmp_path)


def test_a_tokenizer_of_sentencepiece_alone_is_named(tmp_path: Path) -> None:
    config = AutoConfig.for_model("deberta-v2", **SIZES, **USUAL)
    AutoModel.from_config(config).save_pretrained(tmp_path / "model")
    (tmp_path / "model/spm.model").write_bytes(b"no model")
    with pytest.raises(ConfigError, match=r"has no tokenizer.json, but spm.model, which SentencePiece reads"):
        load_tokenizer_files(str(tmp_path / "model"), tmp_path)


def test_no_model_is_read_where_its_configuration_could_name_code(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels-0.11.dist-info").mkdir()
    (tmp_path / "kernels-0.11.dist-info/METADATA").write_text("Name: kernels\nVersion: 0.11\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for read in (
        lambda: load_model(str(tiny_encoder), ("bad", "good"), dropout=None, device=torch.device("cpu")),
        lambda: load_tokenizer_files(str(tiny_encoder), tmp_path),
        lambda: embed_texts(str(tiny_encoder), ["tea"], 8),
    ):
        with pytest.raises(ConfigError, match="pip uninstall kernels"):
            read()


@pytest.mark.parametrize(
    ("seconds", "bf16"), [([2.0, 9.0, 3.0, 1.0], True), ([1.0, 2.0], False), ([9.0, 2.0, 1.0, 2.0], False)]
)
def test_auto_is_bf16_where_the_fastest_product_is(
    seconds: list[float], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = cycle(seconds)
    monkeypatch.setattr(precision, "_time_product", lambda rows, weights: next(times))
    precision._cpu_multiplies_faster_in_bf16.cache_clear()
    assert use_bf16("auto", torch.device("cpu")) == bf16
    precision._cpu_multiplies_faster_in_bf16.cache_clear()
    assert use_bf16("bf16", torch.device("cpu"))
    assert not use_bf16("fp32", torch.device("cpu"))


def test_weights_of_another_size_than_the_configuration_says_are_refused(tmp_path: Path) -> None:
    AutoModel.from_config(AutoConfig.for_model("bert", **SIZES, **USUAL)).save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"vocab_size": told["vocab_size"] + 1}))
    with pytest.raises(ConfigError, match=r"vocab_size = 101, but embeddings.word_embeddings.weight has 100 rows"):
        load_model(str(tmp_path), ("bad", "good"), dropout=0.0, device=torch.device("cpu"))
