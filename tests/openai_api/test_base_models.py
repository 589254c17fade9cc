"""A base model is exported once, by whichever process is first; its command says what is exported."""

import json
import sys
import time
from pathlib import Path

import pytest

from sentiment_ray.openai_api.base_models import BaseModels
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.output_lock import hold_local_lock, name_lock_beside

EXPORT = """
import pathlib, sys
bundle, lock = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
if lock.exists():
    sys.exit(2)
bundle.mkdir()
(bundle / "bundle.json").write_text("{}")
"""


def make(tmp_path: Path, **models: str) -> BaseModels:
    config = OpenAiApiConfig(state=str(tmp_path), models=models, labels=("a, b", "c", 'd "e"'))
    return BaseModels(config, tmp_path)


def test_an_encoder_is_exported_with_labels_and_a_run_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    models = make(tmp_path, encoder="org/name", run=str(tmp_path / "run"))
    by_encoder, by_run = models.make_command("encoder"), models.make_command("run")
    assert by_encoder[1:3] == ["-m", "jobs.export_bundle"]
    assert by_encoder[5:] == ["--encoder", "org/name", "--labels", '"a, b",c,"d ""e"""', "--variants", "fp32"]
    assert by_run[5:] == ["--run", str(tmp_path / "run")]


def test_the_directory_of_a_bundle_is_inside_the_state_whatever_the_id_is(tmp_path: Path) -> None:
    ids = ["../../etc", "a/b", "..", "gpt:x", "x" * 300, "gpt-3.5-turbo"]
    models = make(tmp_path, **dict.fromkeys(ids, "encoder"))
    found = [models.find_bundle(model_id) for model_id in ids]
    assert len(set(found)) == len(ids)
    assert {path.parents[1] for path in found} == {tmp_path / "base_models"}
    assert make(tmp_path, **{"gpt-3.5-turbo": "other"}).find_bundle("gpt-3.5-turbo") not in found


def test_an_export_that_another_process_has_begun_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = make(tmp_path, m="encoder")
    bundle = models.find_bundle("m")
    lock = name_lock_beside(bundle)
    command = [sys.executable, "-c", EXPORT, str(bundle), str(lock)]
    monkeypatch.setattr(models, "make_command", lambda model_id: command)
    bundle.parent.mkdir(parents=True)
    with hold_local_lock(lock, bundle):
        models.start()
        time.sleep(1)
        assert not models.is_ready("m")
        assert not models._failed
    end_s = time.monotonic() + 20
    while not models.is_ready("m") and time.monotonic() < end_s:
        time.sleep(0.05)
    assert json.loads((bundle / "bundle.json").read_text()) == {}
    models.stop()
