"""A model on the Hub is looked up once, as a commit, and read at this commit alone."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import reset_sessions

from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.hub import find_commit
from sentiment_ray.pretrained.open import open_model
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.preflight import hash_model, with_absolute_paths
from sentiment_ray.train.prepared import PreparedReviews
from sentiment_ray.train.trainer import _describe_run
from sentiment_ray.train.tune import _find_revisions
from tests.hostile.broken_models import POINTER
from tests.hub import Hub, serve_hub

OLD, NEW = "a" * 40, "b" * 40
NAME = "someone/tiny"


@pytest.fixture
def hub(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Two commits of the tiny encoder, which `pad_token_id` tells apart, and an empty cache."""
    commits = {}
    for number, commit in enumerate((OLD, NEW)):
        shutil.copytree(tiny_encoder, tmp_path / commit)
        config = json.loads((tmp_path / commit / "config.json").read_text())
        (tmp_path / commit / "config.json").write_text(json.dumps(config | {"pad_token_id": number}))
        (tmp_path / commit / "modeling_evil.py").write_text("raise SystemExit")
        commits[commit] = tmp_path / commit
    with serve_hub(Hub(NAME, commits, {"main": OLD, "v1": OLD})) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        reset_sessions()  # a session that was opened offline stays so
        yield hub


def _read_padding(revision: str | None) -> int:
    with open_model(NAME, revision) as opened:
        assert not list(opened.directory.glob("*.py"))
        return int(opened.config["pad_token_id"])


def test_a_branch_becomes_the_commit_that_it_is_now_and_stays_it(hub: Hub) -> None:
    config = with_absolute_paths(TrainConfig(prepared="p", output="o", model=NAME, max_tokens=8))
    assert config.revision == OLD
    hub.branches["main"] = NEW
    assert _read_padding(config.revision) == 0
    assert with_absolute_paths(config).revision == OLD
    assert with_absolute_paths(TrainConfig(prepared="p", output="o", model=NAME, max_tokens=8)).revision == NEW
    assert _read_padding(NEW) == 1


def test_the_commit_stands_in_the_run_and_in_its_fingerprint(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "prepared.json").write_text("{}")
    prepared = PreparedReviews(tmp_path, (), {}, {}, ())
    config = TrainConfig(prepared=str(tmp_path), output="o", model=NAME, revision="v1", max_tokens=8)
    plan = _describe_run(with_absolute_paths(config), prepared)
    assert plan["config"]["revision"] == plan["made_from"]["model"] == OLD
    hub.branches["v1"] = NEW
    assert _describe_run(with_absolute_paths(config), prepared)["fingerprint"] != plan["fingerprint"]


def test_a_local_model_has_no_revision_and_its_runs_keep_their_fingerprint(tiny_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared.json").write_text("{}")
    prepared = PreparedReviews(tmp_path, (), {}, {}, ())
    config = TrainConfig(prepared=str(tmp_path), output="o", model=str(tiny_encoder), max_tokens=8)
    plan = _describe_run(with_absolute_paths(config), prepared)
    assert "revision" not in plan["config"]
    with pytest.raises(ConfigError, match="revision = 'main' is for a model on the Hub"):
        with_absolute_paths(config.model_copy(update={"revision": "main"}))


def test_a_search_looks_every_model_up_once(hub: Hub, tiny_encoder: Path) -> None:
    keys = {"prepared": "p", "output": "o", "max_tokens": 8}
    configs = [TrainConfig(model=model, **keys) for model in (NAME, str(tiny_encoder), NAME)]
    assert _find_revisions(configs) == {NAME: OLD, str(tiny_encoder): None}
    assert len([path for path in hub.requests if "/resolve/main/" in path]) == 1
    assert hash_model(NAME, OLD) == OLD


def test_only_what_is_read_is_fetched(hub: Hub, tmp_path: Path) -> None:
    _read_padding(OLD)
    names = {path.name for path in (tmp_path / "cache").glob("models--*/snapshots/*/*")}
    assert "modeling_evil.py" not in names
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= names


def test_a_broken_model_of_the_hub_is_named_on_the_driver(hub: Hub) -> None:
    (hub.commits[OLD] / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(ConfigError, match=f"model = {NAME!r}: .*model.safetensors is a pointer of Git LFS"):
        with_absolute_paths(TrainConfig(prepared="p", output="o", model=NAME, max_tokens=8))


def test_what_the_cache_holds_needs_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read_padding(find_commit(NAME, None)) == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_commit(NAME, None) == OLD
    assert _read_padding(OLD) == 0


@pytest.mark.parametrize("revision", ["v9", "../../etc", "c" * 40])
def test_a_revision_that_the_hub_does_not_have_is_named(hub: Hub, revision: str) -> None:
    with pytest.raises(ConfigError, match=f"model = {NAME!r} at revision = '{revision}' is not what"):
        _read_padding(find_commit(NAME, revision))


@pytest.mark.parametrize("name", ["some one/tiny", "a/b/c", "-evil"])
def test_a_name_that_is_none_of_the_hub_is_named(hub: Hub, name: str) -> None:
    with pytest.raises(ConfigError, match="is not what a directory here or the Hub can give"):
        find_commit(name, None)
