"""What prepare_reviews says about its input: leakage, duplicates, clusters, limits, and the page that tells it."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from html_page import Page, assert_loads_nothing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.prepare_reviews import main, prepare
from sentiment_ray.data.buckets import Plan, collect, divide
from sentiment_ray.data.checks.leakage import relate, sign
from sentiment_ray.data.checks.suspects import find_suspects
from sentiment_ray.data.config import SPLITS, PrepareConfig
from sentiment_ray.data.listing import check_files, list_files, resolve
from sentiment_ray.data.prepare import prepare_reviews
from sentiment_ray.errors import ConfigError, DataError, GateError
from sentiment_ray.manifest import read_json
from sentiment_ray.shell import run as run_job

LABELS = ("negative", "neutral", "positive")
CANARY = "canary-9c1e"
THINGS = (
    "lamp",
    "kettle",
    "jacket",
    "tent",
    "radio",
    "carpet",
    "mirror",
    "ladder",
    "basket",
    "drill",
    "pillow",
    "clock",
)

needs_ray = pytest.mark.usefixtures("ray_cluster")


def reviews(count: int, *, start: int = 0) -> list[tuple[str, str]]:
    """Return texts of which none resembles another, every label in turn."""
    return [
        (" ".join(f"{THINGS[(number * 7 + place * 5) % 12]}{number}x{place}" for place in range(8)), LABELS[number % 3])
        for number in range(start, start + count)
    ]


def write(path: Path, rows: Iterable[tuple[str, str]], *, names: Sequence[str] = ("text", "label")) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def run(output: Path, *sources: str, **keys: Any) -> dict[str, Any]:
    described = [{"path": path} for path in sources]
    prepare(PrepareConfig.model_validate({"output": str(output), "sources": described, **keys}))
    return read_json(output / "prepared.json")


def finding(checks: dict[str, Any], name: str) -> tuple[int, int]:
    line = next(line for line in checks["findings"] if line["name"] == name)
    assert line["share"] == pytest.approx(line["rows"] / max(1, line["of"]))
    return line["rows"], line["of"]


def page_of(output: Path) -> Page:
    html = (output / "report.html").read_text(encoding="utf-8")
    assert_loads_nothing(html)
    page = Page(html)
    assert page.open == []
    page.text = " ".join(page.text.split())
    return page


@needs_ray
def test_everything_that_is_wrong_is_counted_and_shown(tmp_path: Path) -> None:
    odd = [
        ("see https://example.org now, @ann", "neutral"),
        ("<b>bold</b> &amp; brave", "positive"),
        ("  spaced  out ", "neutral"),
        ("it wasnâ€™t good at all", "negative"),
        ("lost \ufffd letters here", "negative"),
        ("!!! 1234 ???", "neutral"),
    ]
    first = write(tmp_path / "first.csv", [*reviews(200), *odd, ("twice TOLD", "positive"), ("torn", "neutral")])
    again = [("Twice told", "positive"), ("twice  told", "positive"), ("torn", "negative"), ("", "neutral")]
    second = write(tmp_path / "second.csv", [*reviews(40, start=300), *again, (f"{CANARY} text", "mixed")])
    manifest = run(tmp_path / "out", first, second)
    checks = manifest["checks"]
    assert checks["rows"] == {"in": 253, "good": 251, "kept": 247}
    assert finding(checks, "rejected") == (2, 253)
    assert finding(checks, "duplicates") == (2, 251)
    assert finding(checks, "conflicting") == (2, 251)
    assert checks["duplicates"] == {
        "rows": 2, "identical": 1, "sources": ["first", "second"], "matrix": [[0, 2], [2, 1]],
    }  # fmt: skip
    assert checks["rejected"]["empty text"] == {"rows": 1, "first": f"{second}, row 45"}
    found = {name: sum(by_source.values()) for name, by_source in checks["quality"].items()}
    assert found == {
        "url": 1, "html": 1, "handle": 1, "white_space": 1, "lost_letters": 1, "mojibake": 1, "no_letter": 1,
    }  # fmt: skip
    assert checks["balance"]["second"]["train"] == {
        label: sum(row["source"] == "second" and row["label"] == label for row in rows_of(tmp_path / "out" / "train"))
        for label in LABELS
    }
    assert checks["words"]["median"] == 8
    assert set(checks["not_run"]) == {"leaked", "cut", "language", "suspect_labels"}
    text = page_of(tmp_path / "out").text
    for expected in (
        "253 rows read, 247 kept",
        "Same text, different labels",
        "it wasnâ€™t good at all",
        "<b>bold</b> &amp; brave",
        "negative 1, neutral 1",
        f"{second}, row 45",
        "Not looked at:",
        "treat it like the reviews themselves",
    ):
        assert expected in text
    assert CANARY not in text
    assert CANARY not in json.dumps(manifest)


@needs_ray
def test_texts_can_be_left_out_of_the_page_and_are_never_in_the_manifest(tmp_path: Path) -> None:
    rows = [*reviews(200), (f"{CANARY} @ann", "neutral"), (f"{CANARY}", "neutral"), (f"{CANARY}", "positive")]
    path = write(tmp_path / "a.csv", rows)
    manifest = run(tmp_path / "shown", path, against=(path,))
    assert CANARY in page_of(tmp_path / "shown").text
    assert CANARY not in json.dumps(manifest)
    run(tmp_path / "hidden", path, against=(path,), report_samples=False)
    hidden = page_of(tmp_path / "hidden").text
    assert CANARY not in hidden
    assert reviews(1)[0][0] not in hidden
    assert "Texts are not shown" in hidden


@needs_ray
def test_rows_of_an_external_test_set_are_found_equal_and_similar(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", reviews(300))
    held_out = [text.upper() for text, _ in reviews(30, start=100)] + [f"RT @x {text}!" for text, _ in reviews(20)]
    with (tmp_path / "test.jsonl").open("w") as file:
        file.writelines(json.dumps({"body": text}) + "\n" for text in [*held_out, "", "new and unseen by anybody"])
    manifest = run(tmp_path / "out", path, against=str(tmp_path / "test.jsonl"), against_text_column="body")
    leaked = manifest["checks"]["leaked"]
    assert sum(split["equal"] for split in leaked["by_split"].values()) == 30
    assert sum(split["similar"] for split in leaked["by_split"].values()) == 20
    found = {text: split for split in SPLITS for text in (row["text"] for row in rows_of(tmp_path / "out" / split))}
    in_train = sum(found[text] == "train" for text, _ in reviews(30, start=100))
    assert leaked["by_split"]["train"]["equal"] == in_train
    assert finding(manifest["checks"], "leaked") == (50, 300)
    assert f"to {tmp_path}/test.jsonl:" in page_of(tmp_path / "out").text

    alone = run(tmp_path / "exact", path, against=str(tmp_path / "test.jsonl"), against_text_column="body",
                near_duplicates=False)  # fmt: skip
    assert finding(alone["checks"], "leaked") == (30, 300)


@needs_ray
def test_near_duplicates_are_counted_and_can_be_kept_in_one_split(tmp_path: Path) -> None:
    rows = reviews(150)
    echoes = [(f"RT @someone{number}: {text} http://t.co/{number}", label) for number, (text, label) in enumerate(rows)]
    path = write(tmp_path / "a.csv", [*rows, *echoes, *reviews(50, start=500)])
    near = run(tmp_path / "apart", path)["checks"]["near_duplicates"]
    assert near["equal_once_masked"] == near["clusters"] == 150
    assert near["clusters_in_several_splits"] > 10
    assert sum(near["rows_by_split"].values()) == 300

    manifest = run(tmp_path / "together", path, keep_together=True)
    assert manifest["checks"]["near_duplicates"]["clusters_in_several_splits"] == 0
    found = {row["text"]: split for split in SPLITS for row in rows_of(tmp_path / "together" / split)}
    assert all(found[text] == found[echo] for (text, _), (echo, _) in zip(rows, echoes, strict=True))
    assert set(found.values()) == set(SPLITS)

    part = run(tmp_path / "part", path, near_duplicate_rows=100)["checks"]["near_duplicates"]
    assert part["share_compared"] == pytest.approx(100 / 350)
    assert part["equal_once_masked"] == part["clusters"] < 80
    assert "29 % of all, chosen by hash," in page_of(tmp_path / "part").text
    with pytest.raises(DataError, match="more than near_duplicate_rows = 100 allows"):
        run(tmp_path / "refused", path, near_duplicate_rows=100, keep_together=True)


def split_alone(
    directory: Path, rows: Sequence[tuple[str, str]], pinned: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Divide rows without Ray, near duplicates together; return the split of each text."""
    directory.mkdir()
    sources = [{"path": write(directory / "main.csv", rows)}]
    if pinned:
        sources.append({"path": write(directory / "held.csv", pinned), "split": "test"})
    settings = {"output": str(directory / "out"), "sources": sources, "keep_together": True, "test_share": 0.3}
    config = resolve(PrepareConfig.model_validate(settings))
    (directory / "out").mkdir()
    plan = Plan(config, directory / "out", num_buckets=3)
    units = check_files(config, list_files(config))
    files = collect(plan, 0, units).bucket_files
    for bucket in range(3):
        sign(plan, bucket, files, 1.0, 1.0)
    relate(plan)
    for bucket in range(3):
        divide(plan, bucket, files)
    return {row["text"]: split for split in SPLITS for row in rows_of(directory / "out" / split)}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 12))
def test_rows_that_join_no_cluster_move_no_row(
    tmp_path_factory: pytest.TempPathFactory, old: list[tuple[int, int]], num_new: int
) -> None:
    directory = tmp_path_factory.mktemp("together")
    rows = [(f"{'RT @a ' * echo}{reviews(1, start=number)[0][0]}", LABELS[number % 3]) for number, echo in set(old)]
    before = split_alone(directory / "before", rows)
    after = split_alone(directory / "after", [*reviews(num_new, start=1000), *rows])
    assert before.items() <= after.items()
    assert len(after) == len(before) + num_new
    by_cluster: dict[str, set[str]] = {}
    for text, split in before.items():
        by_cluster.setdefault(text.rpartition("RT @a ")[2], set()).add(split)
    assert all(len(splits) == 1 for splits in by_cluster.values())


def test_a_cluster_goes_where_one_of_its_rows_is_pinned(tmp_path: Path) -> None:
    rows = reviews(40)
    found = split_alone(tmp_path / "a", rows, pinned=[(f"@bot {text}", label) for text, label in rows[:20]])
    assert {found[text] for text, _ in rows[:20]} == {"test"}
    assert {found[text] for text, _ in rows[20:]} > {"test"}


@needs_ray
def test_check_writes_reports_alone_and_names_what_crosses_its_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [*reviews(200), *reviews(20), ("torn", "neutral"), ("torn", "positive")])
    limits = {"max_duplicates": 0.05, "max_conflicting": 0.5, "min_label_share": 0.4, "max_near_duplicates": 0.0}
    with pytest.raises(GateError) as caught:
        prepare(PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}], check=True, limits=limits))
    told = str(caught.value)
    assert "max_duplicates = 0.05, found 0.09009; min_label_share = 0.4, found 0.33" in told
    assert "max_conflicting" not in told
    assert told.endswith(f"See {tmp_path}/out/report.html.")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.json"}
    checks = read_json(tmp_path / "out" / "report.json")["checks"]
    assert [each["limit"] for each in checks["crossed"]] == ["max_duplicates", "min_label_share"]
    assert checks["findings"][0]["name"] == "duplicates"
    assert "2 limits crossed" in page_of(tmp_path / "out").text

    # A second check takes the place of the first one; prepared reviews are never replaced by a report.
    settings = {"output": str(tmp_path / "out"), "sources": [{"path": path}], "check": True}
    assert prepare(PrepareConfig(**settings))["crossed"] == []
    run(tmp_path / "ready", path)
    with pytest.raises(ConfigError, match="holds prepared reviews, which --check would replace"):
        prepare(PrepareConfig(**settings | {"output": str(tmp_path / "ready"), "restart": True}))


@needs_ray
def test_check_ends_with_3_and_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = write(tmp_path / "a.csv", [*reviews(90), *reviews(20)])
    config = tmp_path / "check.toml"
    config.write_text(
        f'[prepare]\noutput = "{tmp_path}/out"\n[[prepare.sources]]\npath = "{path}"\n'
        "[prepare.limits]\nmax_duplicates = 0.1\n"
    )
    crossed = "limits of [prepare.limits]: max_duplicates = 0.1, found 0.1818"
    for flags, code, told in [
        (["--check"], 3, f"error: The reviews cross {crossed}. See {tmp_path}/out/report.html.\n"),
        (["--output", str(tmp_path / "all")], 0, f"warning: crossed {crossed}\n"),
    ]:
        monkeypatch.setattr(sys, "argv", ["prepare_reviews", "--config", str(config), *flags])
        with pytest.raises(SystemExit) as ended:
            run_job(main)
        printed = capsys.readouterr()
        assert ended.value.code == code
        assert told in printed.err
        assert bool(printed.out) == (code == 0)


@needs_ray
def test_check_reports_before_it_refuses(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [*reviews(90), *[("text", "mixed")] * 30])
    with pytest.raises(DataError, match="30 of 120 rows are defective"):
        prepare(PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}], check=True))
    assert read_json(tmp_path / "out" / "report.json")["checks"]["rejected"] == {
        "label 'mixed' is not in labels": {"rows": 30, "first": f"{path}, row 92"}
    }


@needs_ray
def test_a_check_without_a_good_row_still_has_a_page(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("text", "mixed")] * 3)
    with pytest.raises(DataError, match="3 of 3 rows are defective"):
        prepare(PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}], check=True))
    assert "3 rows read, 0 kept" in page_of(tmp_path / "out").text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"limits": {"max_leaked": 0}}, "limits.max_leaked is set, but its check is not run without against"),
        ({"limits": {"max_cut": 0}}, "without model"),
        ({"limits": {"max_near_duplicates": 0}, "near_duplicates": False}, "without near_duplicates"),
        ({"keep_together": True, "near_duplicates": False}, "keep_together needs near_duplicates"),
        ({"limits": {"max_duplicates": 2}}, "less than or equal to 1"),
    ],
)
def test_a_check_that_would_not_be_run_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrepareConfig.model_validate({"output": "out", "input": "a.csv", **keys})


def test_an_encoder_or_a_test_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", reviews(30))
    settings = PrepareConfig(output=str(tmp_path / "out"), sources=[{"path": path}])
    for keys, message in [
        ({"model": str(tmp_path)}, "holds no tokenizer.json"),
        ({"against": (str(tmp_path / "none.csv"),)}, "none.csv does not exist"),
        ({"against": (path,), "against_text_column": "body"}, "the column 'body' is missing"),
        ({"language": "klingon"}, "language = 'klingon' is not known"),
    ]:
        with pytest.raises((ConfigError, DataError), match=message):
            prepare_reviews(settings.model_copy(update=keys))


def test_injected_wrong_labels_are_found() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, size=600)
    features = (np.eye(3)[labels] @ random.normal(size=(3, 16)) + 0.35 * random.normal(size=(600, 16))).astype(
        np.float32
    )
    wrong = random.choice(600, size=30, replace=False)
    given_labels = labels.copy()
    given_labels[wrong] = (labels[wrong] + 1) % 3
    found = find_suspects(features, given_labels, seed=0)
    assert found is not None
    right = set(found.rows.tolist()) & set(wrong.tolist())
    assert len(right) >= 25
    assert len(found.rows) <= 36
    agree = [proposed == labels[row] for row, proposed in zip(found.rows, found.proposed, strict=True) if row in right]
    assert np.mean(agree) > 0.9
    assert find_suspects(features, np.zeros(600, dtype=np.intp), seed=0) is None


@needs_ray
def test_wrong_labels_and_cut_rows_are_found_with_an_encoder(tmp_path: Path, tiny_encoder: Path) -> None:
    words = (["great", "happy", "love", "best", "good"], ["bad", "hate", "worst", "terrible", "sad"])
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(words[number % 2], size=8)) for number in range(400)]
    rows = [(text, ("positive", "negative")[number % 2]) for number, text in enumerate(texts)]
    wrong = random.choice(np.arange(0, 400, 2), size=10, replace=False)
    for place in wrong:
        rows[place] = (rows[place][0], "negative")
    rows.append(("tasty " * 60, "positive"))
    keys = {"model": str(tiny_encoder), "max_tokens": 32, "labels": ("negative", "positive")}
    checks = run(tmp_path / "out", write(tmp_path / "a.csv", rows), near_duplicates=False, **keys)["checks"]
    assert finding(checks, "cut") == (1, 401)
    assert checks["tokens"]["longest"] >= 62
    suspects, of = finding(checks, "suspect_labels")
    assert of == 401
    assert 7 <= suspects <= 12
    assert checks["suspect_labels"]["by_label"]["negative"]["rows"] >= 7
    page = page_of(tmp_path / "out")
    assert sum(rows[place][0] in page.text for place in wrong) >= 6
    assert "the classifier says positive" in page.text


@needs_ray
def test_rows_in_another_language_are_counted(tmp_path: Path) -> None:
    english = [f"The {THINGS[n % 12]} number {n} works very well and I would buy it again next year" for n in range(60)]
    german = [f"Das Gerät Nummer {n} ist leider schon nach einer Woche kaputt gegangen, sehr schade" for n in range(20)]
    rows = [(text, LABELS[place % 3]) for place, text in enumerate([*english, *german, "ok"])]
    checks = run(tmp_path / "out", write(tmp_path / "a.csv", rows), language="en", near_duplicates=False)["checks"]
    assert finding(checks, "language") == (20, 80)
    assert checks["languages"] == {"en": 60, "de": 20, "?": 1}


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
