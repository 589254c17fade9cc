"""What prepare_reviews reports about its input: leaked rows, duplicates, crossed limits, and the page."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from checked_reviews import LABELS, get_finding, make_reviews, prepare_sources, read_page, read_rows, write_csv

from jobs.prepare_reviews import main, prepare
from sentiment_ray.config.shell import run as run_job
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.errors import ConfigError, DataError, GateError
from sentiment_ray.manifest import read_json

CANARY = "canary-9c1e"

needs_ray = pytest.mark.usefixtures("ray_cluster")


@needs_ray
def test_every_kind_of_flaw_is_counted_and_shown(tmp_path: Path) -> None:
    odd = [
        ("see https://example.org now, @ann", "neutral"),
        ("<b>bold</b> &amp; brave", "positive"),
        ("  spaced  out ", "neutral"),
        ("it wasnâ€™t good at all", "negative"),
        ("lost \ufffd letters here", "negative"),
        ("!!! 1234 ???", "neutral"),
    ]
    first = write_csv(
        tmp_path / "first.csv", [*make_reviews(200), *odd, ("twice TOLD", "positive"), ("torn", "neutral")]
    )
    again = [("Twice told", "positive"), ("twice  told", "positive"), ("torn", "negative"), ("", "neutral")]
    second = write_csv(tmp_path / "second.csv", [*make_reviews(40, start=300), *again, (f"{CANARY} text", "mixed")])
    manifest = prepare_sources(tmp_path / "out", first, second)
    checks = manifest["checks"]
    assert checks["rows"] == {"in": 253, "good": 251, "kept": 247}
    assert get_finding(checks, "rejected") == (2, 253)
    assert get_finding(checks, "duplicates") == (2, 251)
    assert get_finding(checks, "conflicting") == (2, 251)
    assert checks["duplicates"] == {
        "rows": 2, "identical": 1, "sources": ["first", "second"], "matrix": [[0, 2], [2, 1]],
    }  # fmt: skip
    assert checks["rejected"]["empty text"] == {"rows": 1, "first": f"{second}, row 45"}
    flagged_rows = {name: sum(by_source.values()) for name, by_source in checks["quality"].items()}
    assert flagged_rows == {
        "url": 1, "html": 1, "handle": 1, "white_space": 1, "lost_letters": 1, "mojibake": 1, "no_letter": 1,
    }  # fmt: skip
    assert checks["balance"]["second"]["train"] == {
        label: sum(row["source"] == "second" and row["label"] == label for row in read_rows(tmp_path / "out" / "train"))
        for label in LABELS
    }
    assert checks["words"]["median"] == 8
    assert set(checks["not_run"]) == {"leaked", "cut", "language", "suspect_labels"}
    text = read_page(tmp_path / "out").text
    for expected in (
        "253 rows read, 247 kept",
        "Same text, different labels",
        "it wasnâ€™t good at all",
        "<b>bold</b> &amp; brave",
        "negative 1, neutral 1",
        f"{second}, row 45",
        "Not checked:",
        "protect it as you protect the reviews",
    ):
        assert expected in text
    assert CANARY not in text
    assert CANARY not in json.dumps(manifest)


@needs_ray
def test_texts_can_be_left_out_of_the_page_and_are_never_in_prepared_json(tmp_path: Path) -> None:
    rows = [*make_reviews(200), (f"{CANARY} @ann", "neutral"), (f"{CANARY}", "neutral"), (f"{CANARY}", "positive")]
    path = write_csv(tmp_path / "a.csv", rows)
    manifest = prepare_sources(tmp_path / "shown", path, against=(path,))
    assert CANARY in read_page(tmp_path / "shown").text
    assert CANARY not in json.dumps(manifest)
    prepare_sources(tmp_path / "hidden", path, against=(path,), report_samples=False)
    hidden = read_page(tmp_path / "hidden").text
    assert CANARY not in hidden
    assert make_reviews(1)[0][0] not in hidden
    assert "Texts are not shown" in hidden


@needs_ray
def test_rows_that_equal_or_resemble_a_row_of_the_test_set_are_found(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", make_reviews(300))
    held_out = [text.upper() for text, _ in make_reviews(30, start=100)] + [
        f"RT @x {text}!" for text, _ in make_reviews(20)
    ]
    with (tmp_path / "test.jsonl").open("w") as file:
        file.writelines(json.dumps({"body": text}) + "\n" for text in [*held_out, "", "new and unseen by anybody"])
    manifest = prepare_sources(tmp_path / "out", path, against=str(tmp_path / "test.jsonl"), against_text_column="body")
    leaked = manifest["checks"]["leaked"]
    assert sum(split["equal"] for split in leaked["by_split"].values()) == 30
    assert sum(split["similar"] for split in leaked["by_split"].values()) == 20
    split_by_text = {
        text: split for split in SPLITS for text in (row["text"] for row in read_rows(tmp_path / "out" / split))
    }
    in_train = sum(split_by_text[text] == "train" for text, _ in make_reviews(30, start=100))
    assert leaked["by_split"]["train"]["equal"] == in_train
    assert get_finding(manifest["checks"], "leaked") == (50, 300)
    assert f"to {tmp_path}/test.jsonl:" in read_page(tmp_path / "out").text

    keys = {"against": str(tmp_path / "test.jsonl"), "against_text_column": "body", "near_duplicates": False}
    exact_only = prepare_sources(tmp_path / "exact", path, **keys)
    assert get_finding(exact_only["checks"], "leaked") == (30, 300)


@needs_ray
def test_near_duplicates_are_counted_and_can_be_kept_in_one_split(tmp_path: Path) -> None:
    rows = make_reviews(150)
    echoes = [(f"RT @someone{number}: {text} http://t.co/{number}", label) for number, (text, label) in enumerate(rows)]
    path = write_csv(tmp_path / "a.csv", [*rows, *echoes, *make_reviews(50, start=500)])
    near = prepare_sources(tmp_path / "apart", path)["checks"]["near_duplicates"]
    assert near["equal_once_masked"] == near["clusters"] == 150
    assert near["clusters_in_several_splits"] > 10
    assert sum(near["rows_by_split"].values()) == 300

    manifest = prepare_sources(tmp_path / "together", path, keep_together=True)
    assert manifest["checks"]["near_duplicates"]["clusters_in_several_splits"] == 0
    split_by_text = {row["text"]: split for split in SPLITS for row in read_rows(tmp_path / "together" / split)}
    assert all(split_by_text[text] == split_by_text[echo] for (text, _), (echo, _) in zip(rows, echoes, strict=True))
    assert set(split_by_text.values()) == set(SPLITS)

    part = prepare_sources(tmp_path / "part", path, near_duplicate_rows=100)["checks"]["near_duplicates"]
    assert part["share_compared"] == pytest.approx(100 / 350)
    assert part["equal_once_masked"] == part["clusters"] < 80
    assert "29 % of all, chosen by hash," in read_page(tmp_path / "part").text
    with pytest.raises(DataError, match="more than near_duplicate_rows = 100 allows"):
        prepare_sources(tmp_path / "refused", path, near_duplicate_rows=100, keep_together=True)


@needs_ray
def test_check_writes_only_the_reports_and_names_the_crossed_limits(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv", [*make_reviews(200), *make_reviews(20), ("torn", "neutral"), ("torn", "positive")]
    )
    limits = {"max_duplicates": 0.05, "max_conflicting": 0.5, "min_label_share": 0.4, "max_near_duplicates": 0.0}
    with pytest.raises(GateError) as caught:
        prepare(PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}], check=True, limits=limits))
    message = str(caught.value)
    assert "max_duplicates = 0.05, found 0.09009; min_label_share = 0.4, found 0.33" in message
    assert "max_conflicting" not in message
    assert message.endswith(f"See {tmp_path}/out/report.html.")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.json"}
    checks = read_json(tmp_path / "out" / "report.json")["checks"]
    assert [each["limit"] for each in checks["crossed"]] == ["max_duplicates", "min_label_share"]
    assert checks["findings"][0]["name"] == "duplicates"
    assert "2 limits crossed" in read_page(tmp_path / "out").text

    # A second check replaces the report of the first one. A report never replaces prepared reviews.
    settings = {"output": str(tmp_path / "out"), "sources": [{"path": path}], "check": True}
    assert prepare(PrepareConfig(**settings))["crossed"] == []
    prepare_sources(tmp_path / "ready", path)
    with pytest.raises(ConfigError, match="holds prepared reviews, which --check would replace"):
        prepare(PrepareConfig(**settings | {"output": str(tmp_path / "ready"), "restart": True}))


@needs_ray
def test_check_ends_with_exit_code_3_and_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = write_csv(tmp_path / "a.csv", [*make_reviews(90), *make_reviews(20)])
    config = tmp_path / "check.toml"
    config.write_text(
        f'[prepare]\noutput = "{tmp_path}/out"\n[[prepare.sources]]\npath = "{path}"\n'
        "[prepare.limits]\nmax_duplicates = 0.1\n"
    )
    crossed = "limits of [prepare.limits]: max_duplicates = 0.1, found 0.1818"
    for flags, code, message in [
        (["--check"], 3, f"error: The reviews cross {crossed}. See {tmp_path}/out/report.html.\n"),
        (["--output", str(tmp_path / "all")], 0, f"warning: crossed {crossed}\n"),
    ]:
        monkeypatch.setattr(sys, "argv", ["prepare_reviews", "--config", str(config), *flags])
        with pytest.raises(SystemExit) as ended:
            run_job(main)
        printed = capsys.readouterr()
        assert ended.value.code == code
        assert message in printed.err
        assert bool(printed.out) == (code == 0)


@needs_ray
def test_check_writes_the_report_before_it_refuses_the_input(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [*make_reviews(90), *[("text", "mixed")] * 30])
    with pytest.raises(DataError, match="30 of 120 rows are defective"):
        prepare(PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}], check=True))
    assert read_json(tmp_path / "out" / "report.json")["checks"]["rejected"] == {
        "label 'mixed' is not in labels": {"rows": 30, "first": f"{path}, row 92"}
    }


@needs_ray
def test_a_check_of_only_defective_rows_still_has_a_page(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("text", "mixed")] * 3)
    with pytest.raises(DataError, match="3 of 3 rows are defective"):
        prepare(PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}], check=True))
    assert "3 rows read, 0 kept" in read_page(tmp_path / "out").text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"limits": {"max_leaked": 0}}, "limits.max_leaked is set, but its check does not run without against"),
        ({"limits": {"max_cut": 0}}, "without model"),
        ({"limits": {"max_near_duplicates": 0}, "near_duplicates": False}, "without near_duplicates"),
        ({"keep_together": True, "near_duplicates": False}, "keep_together needs near_duplicates"),
        ({"limits": {"max_duplicates": 2}}, "less than or equal to 1"),
    ],
)
def test_a_limit_of_a_check_that_does_not_run_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrepareConfig.model_validate({"output": "out", "input": "a.csv", **keys})


def test_a_missing_encoder_test_set_or_language_is_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", make_reviews(30))
    settings = PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}])
    for keys, message in [
        ({"model": str(tmp_path)}, "holds no tokenizer.json"),
        ({"against": (str(tmp_path / "none.csv"),)}, "none.csv does not exist"),
        ({"against": (path,), "against_text_column": "body"}, "the column 'body' is missing"),
        ({"language": "klingon"}, "language = 'klingon' is not known"),
    ]:
        with pytest.raises((ConfigError, DataError), match=message):
            prepare_reviews(settings.model_copy(update=keys))
