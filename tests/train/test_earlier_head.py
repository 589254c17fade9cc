"""The head of a model that was a classifier before is kept, put in order, or replaced, by the names of its labels."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sentiment_ray.manifest import read_json
from sentiment_ray.pretrained.head import describe_earlier_head, find_head_rows
from sentiment_ray.train.config import TrainConfig
from sentiment_ray.train.continual import load_previous_run, use_labels
from sentiment_ray.train.model import load_model
from sentiment_ray.train.prepared import PreparedReviews, read_prepared
from tests.conftest import LABELS

CPU = torch.device("cpu")


def _config(labels: tuple[str, ...]) -> dict[str, object]:
    return {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(index): label for index, label in enumerate(labels)},
    }


@pytest.mark.parametrize(
    ("earlier", "labels", "rows", "line"),
    [
        (LABELS, LABELS, [0, 1, 2], "with the same labels"),
        (LABELS, ("positive", "neutral", "negative"), [2, 1, 0], "in another order"),
        (("POSITIVE", "Negative", "neutral"), LABELS, [1, 2, 0], "in another order"),
        (("NEGATIVE", "NEUTRAL", "POSITIVE"), LABELS, [0, 1, 2], "with the same labels"),
        (("bad", "ok", "good"), LABELS, None, "with other labels"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), LABELS, None, "with other labels"),
        (("negative", "positive"), LABELS, None, "with other labels"),
        (("negative", "neutral", "positive", "mixed"), LABELS, None, "with other labels"),
        (("positive", "Positive"), ("Positive", "positive"), [1, 0], "in another order"),
        (("positive", "POSITIVE"), ("Positive", "positive"), None, "with other labels"),
    ],
)
def test_a_head_is_recognised_by_the_names_of_its_labels(
    earlier: tuple[str, ...], labels: tuple[str, ...], rows: list[int] | None, line: str
) -> None:
    assert find_head_rows(_config(earlier), labels) == rows
    assert line in str(describe_earlier_head("model = 'x'", _config(earlier), labels))


def test_a_head_with_more_than_ten_labels_is_read_in_the_order_of_its_numbers() -> None:
    names = tuple(f"topic {number}" for number in range(12))
    shuffled = dict(reversed(list(_config(names)["id2label"].items())))  # type: ignore[attr-defined]
    assert find_head_rows({"id2label": shuffled}, names) == list(range(12))


def test_an_encoder_without_a_head_is_no_news() -> None:
    assert describe_earlier_head("model = 'x'", {"architectures": ["BertModel"]}, LABELS) is None
    assert find_head_rows({}, ("LABEL_0", "LABEL_1")) == [0, 1]  # transformers does not write these names


def test_the_rows_of_a_head_follow_the_labels(run: Path, tmp_path: Path) -> None:
    checkpoint = run / read_json(run / "run.json")["best"]["checkpoint"]

    def head(model: Path, labels: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        layer = load_model(str(model), labels, dropout=None, device=CPU).classifier
        return layer.weight.detach(), layer.bias.detach()

    weight, bias = head(checkpoint, LABELS)
    turned_weight, turned_bias = head(checkpoint, LABELS[::-1])
    assert torch.equal(turned_weight, weight.flip(0)) and torch.equal(turned_bias, bias.flip(0))
    shutil.copytree(checkpoint, tmp_path / "model")
    config = read_json(checkpoint / "config.json")
    for names in ({}, {"id2label": {"0": "bad", "1": "ok", "2": "good"}}):
        kept = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
        (tmp_path / "model/config.json").write_text(json.dumps(kept | names))
        new_weight, new_bias = head(tmp_path / "model", LABELS)
        assert not (new_weight[:, None] == weight[None]).all(dim=2).any()
        assert not new_bias.any()
    assert head(checkpoint, (*LABELS, "mixed"))[0].shape[0] == 4


def test_reviews_with_some_of_the_labels_of_a_run_continue_it(run: Path, prepared: Path, tmp_path: Path) -> None:
    manifest = read_json(prepared / "prepared.json")
    for labels in (["positive", "negative"], ["neutral", "positive"], list(LABELS[::-1])):
        by_split = {split: {label: counts[label] for label in labels} for split, counts in manifest["by_split"].items()}
        (tmp_path / "prepared.json").write_text(json.dumps(manifest | {"labels": labels, "by_split": by_split}))
        config = TrainConfig(prepared=str(tmp_path), output=str(tmp_path / "new"), start_from=str(run))
        new = read_prepared(tmp_path)
        previous = load_previous_run(config, new)
        assert previous is not None
        used: PreparedReviews = use_labels(new, previous.labels)
        assert used.labels == LABELS
        assert used.rows_by_label["train"] == {
            label: manifest["by_split"]["train"][label] if label in labels else 0 for label in LABELS
        }
