"""A base model that somebody made to do harm is refused by name before transformers sees any of it."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.pretrained.open import open_model
from sentiment_ray.pretrained.runs import find_checkpoint
from sentiment_ray.pretrained.tokenizer_files import load_tokenizer_files
from sentiment_ray.text.encoding import encode, load_encoder
from sentiment_ray.text.truncation import HEAD
from sentiment_ray.train.baseline import checkpoint_metrics
from sentiment_ray.train.config import Distill, TrainConfig
from sentiment_ray.train.embedding import embed_texts
from sentiment_ray.train.model import load_model
from sentiment_ray.train.preflight import with_absolute_paths
from sentiment_ray.train.teacher import find_teacher_rows
from tests.export.test_families import MORE
from tests.export.test_first_token import FAMILIES, SIZES
from tests.hostile import base_models
from tests.hostile.damage import Cases

GROUPS = {
    "files": base_models.FILES,
    "index": base_models.INDEX,
    "weights": base_models.WEIGHTS,
    "config": base_models.CONFIG,
    "tokenizer": base_models.TOKENIZER,
}
HOSTILE: Cases = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}
LABELS = ("bad", "good")
CPU = torch.device("cpu")
TEMPLATES = [{"name": "default", "template": "x"}, {"name": "../../../escaped", "template": "{{ messages }}"}]


@pytest.fixture
def model(tiny_encoder: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_encoder, tmp_path / "model")
    return tmp_path / "model"


def test_there_are_many_hostile_base_models() -> None:
    assert len(HOSTILE) >= 60


def test_a_copy_that_nobody_harmed_is_the_same_model(model: Path, tiny_encoder: Path) -> None:
    with open_model(model) as opened:
        for file in opened.directory.iterdir():
            assert file.read_bytes() == (tiny_encoder / file.name).read_bytes()
        assert opened.has_tokenizer
        expected = {name: tuple(value.shape) for name, value in load_file(model / "model.safetensors").items()}
        assert {name: tensor.shape for name, tensor in opened.tensors.items()} == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_base_model_is_refused_by_name(model: Path, name: str) -> None:
    harm, refusal = HOSTILE[name]
    harm(model)
    with pytest.raises(ConfigError, match=refusal) as refused, open_model(model):
        pass
    assert str(refused.value).startswith(f"model = {str(model)!r}")
    assert len(str(refused.value)) < 1000


READERS: dict[str, Callable[[Path, Path], object]] = {
    "the tokenizer": lambda model, work: load_tokenizer_files(str(model), work),
    "training": lambda model, _: load_model(str(model), LABELS, dropout=None, device=CPU),
    "the driver": lambda model, work: with_absolute_paths(
        TrainConfig(model=str(model), prepared=str(work), output=str(work))
    ),
    "embedding": lambda model, _: embed_texts(str(model), ["tea"], 8),
    "the evaluation of a checkpoint": lambda model, work: checkpoint_metrics(
        model, work, LABELS, max_tokens=8, truncation=HEAD
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_whatever_reads_a_base_model_refuses_it(model: Path, reader: str, tmp_path: Path) -> None:
    base_models.config(_attn_implementation_internal="someone/kernel")(model)
    with pytest.raises(ConfigError, match="_attn_implementation_internal"):
        READERS[reader](model, tmp_path)


def test_templates_are_dropped_and_write_no_file(model: Path, tmp_path: Path) -> None:
    """CVE-2026-9856: the name of a chat template becomes the name of a file when transformers saves the tokenizer."""
    base_models.tokenizer_config(chat_template=TEMPLATES)(model)
    (model / "chat_template.jinja").write_text("{{ x }}")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates/more.jinja").write_text("{{ x }}")
    target = tmp_path / "a/b/c"
    (target / "additional_chat_templates").mkdir(parents=True)  # so that the way up from it exists
    load_tokenizer_files(str(model), target)
    assert not list(tmp_path.rglob("escaped*"))
    written = {path.name for path in target.rglob("*") if path.is_file()}
    assert written == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}
    assert "template" not in (target / "tokenizer_config.json").read_text()


def test_an_index_reads_nothing_outside_the_model(model: Path) -> None:
    """Transformers joins the names in an index to the directory and opens what comes of it."""
    weights = load_file(model / "model.safetensors")
    save_file(weights, model.parent / "outside.safetensors", metadata={"format": "pt"})
    (model / "model.safetensors").unlink()
    weight_map = dict.fromkeys(weights, "../outside.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    with pytest.raises(ConfigError, match=re.escape("weight_map names '../outside.safetensors'")):
        load_model(str(model), LABELS, dropout=None, device=CPU)


def test_weights_in_several_files_are_read(model: Path) -> None:
    expected = AutoModel.from_pretrained(model)
    (model / "model.safetensors").unlink()
    expected.save_pretrained(model, max_shard_size="40KB")
    assert len(list(model.glob("*.safetensors"))) > 1
    (model / "unread.safetensors").write_bytes(b"nobody reads this")
    loaded = load_model(str(model), LABELS, dropout=None, device=CPU)
    for name, value in expected.named_parameters():
        assert torch.equal(loaded.get_parameter(f"bert.{name}"), value)


def test_a_published_model_is_read_with_all_that_lies_beside_it(model: Path, tmp_path: Path) -> None:
    for name in ("README.md", ".gitattributes", "pytorch_model.bin", "tf_model.h5", "modeling_evil.py", "modules.json"):
        (model / name).write_bytes(b"\x80\x04 nobody reads this")
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    (model / "onnx").mkdir()
    (model / "1_Pooling").symlink_to("/etc")
    os.mkfifo(model / "rust_model.ot")
    base_models.config(
        _name_or_path="/root/model", _attn_implementation_autoset=True, gradient_checkpointing=False, language="en",
        task_specific_params={"a": 1}, transformers_version="5.0.0.dev0", torch_dtype="float32",
    )(model)  # fmt: skip
    base_models.tokenizer_config(
        backend="tokenizers", is_local=True, name_or_path="x", tokenizer_file="/etc/passwd", extra_special_tokens=[],
        tokenizer_class="TokenizersBackend", processor_class=None, fast_tokenizer_files=["/etc/passwd"],
    )(model)  # fmt: skip
    load_model(str(model), LABELS, dropout=None, device=CPU).save_pretrained(tmp_path / "saved")
    load_tokenizer_files(str(model), tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")("tea")["input_ids"]
    assert "backend" not in (tmp_path / "saved/tokenizer_config.json").read_text()


SECRET = "TOP-SECRET-41"
SECRETS = {
    "lines": f"root:x:0:0:{SECRET}:/root:/bin/sh\nuser {SECRET}\n".encode(),
    "a JSON of settings": json.dumps({"api_key": SECRET, "auths": {"hub": {"auth": SECRET}}}).encode(),
    "a private key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n".encode(),
    "bytes": b"SQLite format 3\0" + SECRET.encode() * 99,
}
LINKED = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "model.safetensors", "model.safetensors.index.json",
)  # fmt: skip
IGNORED = {("tokenizer_config.json", "a JSON of settings"), ("special_tokens_map.json", "a JSON of settings")}
"""Files of which only known keys are kept, so that other JSON changes nothing."""


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", LINKED)
def test_a_link_to_a_file_that_is_no_part_of_a_model_gives_nothing_away(model: Path, name: str, secret: str) -> None:
    (model.parent / "secret").write_bytes(SECRETS[secret])
    if name in ("vocab.txt", "vocab.json", "merges.txt"):  # otherwise nobody would read them
        (model / "tokenizer.json").unlink()
        (model / "vocab.json").write_text('{"<unk>": 0, "a": 1, "b": 2, "ab": 3}')
        (model / "merges.txt").write_text("#version: 0.2\na b\n")
    if name == "model.safetensors.index.json":
        (model / "model.safetensors").unlink()
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to("../secret")
    if (name, secret) in IGNORED:
        with open_model(model) as opened:
            assert not any(SECRET in file.read_text("latin-1") for file in opened.directory.iterdir())
        return
    with pytest.raises(ConfigError, match=name) as refused, open_model(model):
        pass
    assert SECRET not in str(refused.value)


def _put(file: Path, stored: Path) -> None:
    """Move a file to another place and leave a link to it."""
    stored.parent.mkdir(parents=True, exist_ok=True)
    file.rename(stored)
    file.symlink_to(os.path.relpath(stored, file.parent))


STORES: dict[str, Callable[[int, str], str]] = {
    "the Hub's cache": lambda number, name: f"models--someone--tiny/blobs/{number:040x}",
    "git-annex": lambda number, name: f".git/annex/objects/Xx/{number:02}/SHA256E-s9--{number:064x}.json/{number:064x}",
    "DVC": lambda number, name: f"cache/files/md5/ab/{number:030x}",
    "another disk": lambda number, name: f"mnt/models/tiny/{name}",
}


@pytest.mark.parametrize("store", STORES)
def test_a_model_of_links_is_what_they_lead_to(model: Path, store: str, tmp_path: Path) -> None:
    for number, file in enumerate(sorted(model.iterdir())):
        _put(file, tmp_path / STORES[store](number, file.name))
    (tmp_path / "linked").symlink_to("model")
    (tmp_path / "tokenizer").mkdir()
    load_tokenizer_files(str(tmp_path / "linked"), tmp_path / "tokenizer")
    load_model(str(model), LABELS, dropout=None, device=CPU)
    with open_model(model) as opened:
        assert ("model.safetensors" in opened.links) is (store in ("another disk", "git-annex"))


def test_links_to_another_place_are_shown_once(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(model / "model.safetensors", tmp_path / "weights/file")
    with_absolute_paths(TrainConfig(model=str(model), prepared="p", output="o", max_tokens=8))
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert f"model.safetensors -> {tmp_path / 'weights/file'}" in shown


def test_a_configuration_that_asks_for_more_than_there_is_costs_no_memory(tmp_path: Path) -> None:
    config = AutoConfig.for_model("modernbert", **SIZES | (FAMILIES | MORE)["modernbert"])
    AutoModel.from_config(config).save_pretrained(tmp_path / "model")
    base_models.config(intermediate_size=1 << 22)(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"config.json asks for [\d,]+ values, the weights hold"):
        load_model(str(tmp_path / "model"), LABELS, dropout=None, device=CPU)


@pytest.mark.parametrize("values", [{"hidden_act": "nonsense"}, {"num_attention_heads": 3}, {"num_attention_heads": 0}])
def test_a_configuration_of_which_nothing_can_be_built_is_named(model: Path, values: dict[str, object]) -> None:
    base_models.config(**values)(model)
    with pytest.raises(ConfigError, match="cannot be loaded as its config.json says"):
        load_model(str(model), LABELS, dropout=None, device=CPU)


def test_a_vocabulary_beyond_the_model_is_refused_where_the_tokenizer_is_made_of_it(
    model: Path, tmp_path: Path
) -> None:
    (model / "tokenizer.json").unlink()
    with (model / "vocab.txt").open("a") as file:
        file.writelines(f"more{number}\n" for number in range(10))
    with pytest.raises(ConfigError, match="token ids outside vocab_size"):
        load_tokenizer_files(str(model), tmp_path)


def test_a_costly_expression_doubles_its_time_with_each_character(model: Path) -> None:
    """What is refused is real: with thirty characters this one takes minutes."""
    base_models.tokenizer(pre_tokenizer=base_models.SPLIT | {"pattern": {"Regex": "(a+)+$"}})(model)
    encoder = load_encoder(model / "tokenizer.json", max_tokens=8)
    seconds = []
    for length in (16, 22):
        start = time.perf_counter()
        encode(encoder, ["a" * length + "!"])
        seconds.append(time.perf_counter() - start)
    assert seconds[1] > 8 * seconds[0]
    with pytest.raises(ConfigError, match="holds the regular expression"), open_model(model):
        pass


def test_a_checkpoint_that_run_json_names_is_one_of_the_run(tmp_path: Path) -> None:
    def find(name: str) -> Path:
        return find_checkpoint(tmp_path, {"best": {"checkpoint": name}})

    assert find("attempts/1/epoch-1") == tmp_path / "attempts/1/epoch-1"
    for name in ("../other/epoch-1", "/etc", "attempts/../../other"):
        with pytest.raises(ConfigError, match="outside the run"):
            find(name)


@pytest.mark.parametrize("name", ["../secret.parquet", "/etc/passwd", "a/../../secret.parquet"])
def test_scores_of_a_teacher_name_no_file_outside_them(tmp_path: Path, name: str) -> None:
    manifest = {"config": {"text_column": ["text"]}, "parts": [{"path": name}], "fingerprint": "f"}
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores/_MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="outside that directory"):
        find_teacher_rows(Distill(scores=str(tmp_path / "scores")), LABELS)
