"""Few rows go through every stage, which say what they could not measure; a label or a split without rows is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.pipeline import main
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.errors import DataError
from sentiment_ray.inference.predictor import Predictor
from sentiment_ray.manifest import read_json

CONFIG = """
[prepare]
output = "{work}/prepared"
sources = [{{ path = "{work}/ten.jsonl", format = "chat" }}]
{prepare}
[train]
prepared = "{work}/prepared"
output = "{work}/run"
model = "{model}"
learning_rate = 1e-3
max_tokens = 32
cpus_per_worker = 0.5

[export]
run = "{work}/run"
output = "{work}/bundle"
variants = ["fp32"]
"""


def _write_chat(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = []
    for text, label in rows:
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        lines.append(json.dumps({"messages": messages}) + "\n")
    path.write_text("".join(lines))


def _few_of_each_label(everyday: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    by_label: dict[str, list[tuple[str, str]]] = {}
    for text, label in everyday:
        by_label.setdefault(label, []).append((text, label))
    return [rows[number] for number in range(count) for rows in by_label.values()][:count]


@pytest.mark.parametrize("prepare", ["", "validation_share = 0\ntest_share = 0\n"])
def test_ten_rows_become_a_bundle_that_says_what_was_not_measured(
    prepare: str, everyday: list[tuple[str, str]], tiny_encoder: Path, tmp_path: Path, ray_cluster: None, capsys: Any
) -> None:
    _write_chat(tmp_path / "ten.jsonl", _few_of_each_label(everyday, 10))
    config = tmp_path / "ten.toml"
    config.write_text(CONFIG.format(work=tmp_path, model=tiny_encoder, prepare=prepare))
    main(["--config", str(config)], standalone_mode=False)
    said = capsys.readouterr().err

    rows = read_json(tmp_path / "prepared/prepared.json")["counts"]
    run = read_json(tmp_path / "run/run.json")
    split = "validation" if rows["validation"] else "train"
    assert run["best"]["split"] == split
    assert run["best"]["metrics"]["rows"] == rows[split]
    assert sum(epoch["steps"] for epoch in run["history"]) >= 200
    assert run["chosen"]["passes_per_epoch"] > 1
    assert ("measured on the rows that it was trained on" in said) == (split == "train")

    (gate,) = list(Predictor.load(tmp_path / "bundle").manifest.variants["fp32"].gate.values())[:1]
    assert gate["passed"]
    assert Predictor.load(tmp_path / "bundle").manifest.temperature == 1
    assert any("macro-F1" in line for line in gate["not_measured"])
    assert "warning: The gate could not measure " + "; ".join(gate["not_measured"]) in said
    card = (tmp_path / "bundle/README.md").read_text()
    assert ("training rows" in card) == (split == "train")


def test_a_label_whose_rows_are_all_held_out_is_named(
    tmp_path: Path, everyday: list[tuple[str, str]], ray_cluster: None
) -> None:
    """Whatever the hashes are: of three rows with one label each, the label of a held-out row has none to train on."""
    for number in range(40):
        _write_chat(tmp_path / f"{number}.jsonl", _few_of_each_label(everyday[number:], 3))
        source = {"path": str(tmp_path / f"{number}.jsonl"), "format": "chat"}
        keys = {"sources": [source], "validation_share": 0.4, "test_share": 0.2}
        try:
            prepare_reviews(PrepareConfig(output=str(tmp_path / f"{number}"), **keys))
        except DataError as error:
            if "all of its rows, 1, are in other splits" in str(error):
                assert "--split-by stratified" in str(error)
                return
    pytest.fail("no label without a row to train on was named")
