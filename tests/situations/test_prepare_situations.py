"""How labels and chats come from people: each is read, or refused in one line that names the flag that reads it."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.manifest import read_json
from tests.situations.run_job import Outcome, run_job

ANSWERS = (" positive", " negative")
"""Completions as the older hosted fine-tunes want them: with a leading blank."""
TWO = ("--labels", "negative,positive")
STARS = [str(1 + number % 5) for number in range(120)]
CANARY = "I will never tell anybody how much I loved this"


@dataclass(frozen=True)
class Situation:
    """An input with the flags for it; `words` are on stderr, `left_out` and `rejected` are counts of a result."""

    name: str
    write: Callable[[Path], Path]
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    left_out: int = 0
    rejected: int = 0


def csv(labels: Sequence[Any], *, column: str = "label") -> Callable[[Path], Path]:
    """Write a CSV with these labels, repeated to 120 rows."""

    def write(directory: Path) -> Path:
        lines = [f"review number {number},{labels[number % len(labels)]}" for number in range(120)]
        (directory / "in.csv").write_text("\n".join([f"text,{column}", *lines, ""]), encoding="utf-8")
        return directory / "in.csv"

    return write


def parquet(labels: pa.Array) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        texts = [f"review number {number}" for number in range(120)]
        labels_120 = pa.concat_arrays([labels] * (120 // len(labels)))
        pq.write_table(pa.table({"text": texts, "label": labels_120}), directory / "in.parquet")
        return directory / "in.parquet"

    return write


def jsonl(make: Callable[[int], Any], *, name: str = "in.jsonl") -> Callable[[Path], Path]:
    """Write JSON Lines with 120 values."""

    def write(directory: Path) -> Path:
        content = "".join(json.dumps(make(number)) + "\n" for number in range(120)).encode()
        (directory / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return directory / name

    return write


def chat(number: int, *, question: Any = None, answer: Any = None, role: str = "system", **more: Any) -> dict[str, Any]:
    """Return an example of a hosted fine-tune."""
    label = ("negative", "neutral", "positive")[number % 3]
    return {
        "messages": [
            {"role": role, "content": "Say the sentiment."},
            {"role": "user", "content": question or f"review number {number}"},
            {"role": "assistant", "content": answer or label, **more},
        ]
    }


def toml(keys: str, labels: Sequence[Any]) -> Callable[[Path], Path]:
    """Write a CSV, and a configuration file whose only source is that CSV."""

    def write(directory: Path) -> Path:
        path = csv(labels)(directory)
        (directory / "prepare.toml").write_text(f'[prepare]\n[[prepare.sources]]\npath = "{path}"\n{keys}\n')
        return directory / "prepare.toml"

    return write


def run_prepare(situation: Situation, directory: Path) -> Outcome:
    path = situation.write(directory)
    source = ("--config" if path.suffix == ".toml" else "--input", str(path))
    return run_job("prepare_reviews", *source, "--output", str(directory / "out"), *situation.flags)


REFUSED_AT_ONCE = [
    Situation("stars", csv(STARS), words=("ratings from 1 to 5", "Pass --stars,")),
    Situation("stars for two labels", csv(STARS), TWO, ("Pass --stars,",)),
    Situation("stars as 1.0", csv([f"{star}.0" for star in STARS]), words=("Pass --stars,",)),
    Situation("stars as words", csv(["5 stars", "1 star", "3 stars"]), words=("'1 star'", "Pass --stars,")),
    Situation("stars out of five", csv(["5/5", "1/5", "3/5"]), words=("'1/5'", "Pass --stars,")),
    Situation("stars as signs", csv(["★★★★★", "★☆☆☆☆"]), words=("Pass --stars,",)),
    Situation("stars as doubles", parquet(pa.array([1.0, 2.0, 3.0, 4.0, 5.0])), words=("Pass --stars,",)),
    Situation("stars elsewhere", csv(STARS, column="rating"), ("--label-column", "rating"), ("'rating' holds",)),
    Situation("half stars", csv([1, 2.5, 4.5]), words=("ratings with fractions", "--cut-points 2.5,3.5")),
    Situation("ratings from 0", csv(range(5)), words=("--stars 'negative=0,1 neutral=2 positive=3,4'",)),
    Situation("ratings to 10", csv(range(1, 11)), words=("from 1 to 10", "--cut-points 5,7")),
    Situation("ratings to 10 for two labels", csv(range(1, 11)), TWO, ("--cut-points 5.5",)),
    Situation("ratings to 10 read as stars", csv(range(6, 11)), ("--stars",), ("--cut-points 5,7",)),
    Situation("ratings out of 10", csv(["8/10", "3/10"]), words=("ratings such as '3/10'", "--cut-points")),
    Situation("percent", csv([12, 55, 97]), words=("grades from 0 to 100", "--cut-points 40,60")),
    Situation("polarity", csv([-0.8, 0.01, 0.9]), words=("scores from -1 to 1", "--cut-points -0.05,0.05")),
    Situation("0 and 1", csv([0, 1]), words=("--labels negative,positive --label-map 0=negative,1=positive",)),
    Situation("0 and 1 as booleans", parquet(pa.array([False, True])), words=("--labels false,true",)),
    Situation("1 and 2", csv([1, 2]), words=("--label-map 1=negative,2=positive",)),
    Situation("0, 1 and 2", csv([0, 1, 2]), words=("--label-map 0=negative,1=neutral,2=positive",)),
    Situation("-1, 0 and 1", csv([-1, 0, 1]), words=("--label-map -1=negative,0=neutral,1=positive",)),
    Situation("0 and 4", csv([0, 4]), words=("--label-map 0=negative,4=positive",)),
    Situation("pos and neg", csv(["pos", "neg"]), words=("--labels negative,positive --label-map neg=negative,",)),
    Situation("POS, NEG, mixed", csv(["POS", "NEG", "mixed"]), words=("POS=positive --leave-out mixed",)),
    Situation("LABEL_0", csv(["LABEL_0", "LABEL_1", "LABEL_2"]), words=("LABEL_1=neutral,LABEL_2=positive",)),
    Situation("Spanish", csv(["positivo", "negativo", "neutro"]), words=("neutro=neutral,positivo=positive",)),
    Situation("Chinese", csv(["积极", "消极"]), words=("消极=negative",)),
    Situation("signs", csv(["+", "-"]), words=("--label-map +=positive,-=negative",)),
    Situation("thumbs", csv(["👍", "👎"]), words=("--label-map '👍=positive,👎=negative'",)),
    Situation("of fastText", csv(["__label__1", "__label__2"]), words=("__label__2=positive",)),
    Situation("words of fastText", csv(["__label__neg", "__label__pos"]), words=("__label__neg=negative",)),
    Situation("percent signs", csv([f"{number}%" for number in range(40)]), words=("ratings such as '0%'",)),
    Situation("half stars that are drawn", csv(["★★½☆☆", "½"]), ("--stars",), ("Write them as numbers to use --cut",)),
    Situation("no stars at all", csv(["gut", "schlecht"]), ("--stars",), ("values without a label: 'gut'",)),
    Situation("with full stops", csv(["Positive.", "Negative."]), words=("Negative.=negative",)),
    Situation("emotions", csv(["joy", "anger", "fear"]), words=("Pass --labels anger,fear,joy",)),
    Situation("own labels", csv(["bad", "good"]), ("--labels", "poor,great"), ("but the labels are poor, great",)),
    Situation("map of others", csv([1, 2]), ("--label-map", "a=negative"), ("values without a label: '1', '2'.",)),
    Situation("reviews as labels", csv([CANARY, f"{CANARY}!"]), words=("--label-column",)),
    Situation("many labels", csv([f"w{number}" for number in range(60)]), words=("more than 20", "--label-column")),
    Situation("usual stars of other labels", csv(STARS), ("--stars", "--labels", "poor,great"), ("poor=1 great=2",)),
    Situation("stars that name a label twice", csv(STARS), ("--stars", "negative=1,1"), ("names a rating twice",)),
    Situation("stars without numbers", csv(STARS), ("--stars", "yes"), ("stars = 'yes'", "negative=1,2 neutral=3")),
    Situation("stars and a map", csv(STARS), ("--stars", "--label-map", "1=negative"), ("both label_map and stars",)),
    Situation("map without a label", csv(STARS), ("--label-map", "1,2"), ("label_map = '1,2'", "pos=positive")),
    Situation("map to an unknown label", csv(STARS), ("--label-map", "1=bad"), ("maps '1' to 'bad'",)),
    Situation("one cut point too few", csv(STARS), ("--cut-points", "3"), ("must have 2 values for 3 labels",)),
    Situation("a cut point that is no number", csv(STARS), ("--cut-points", "2,good"), ("cut_points.1 = 'good'",)),
    Situation("left out with a label", csv(STARS), ("--stars", "--leave-out", "1"), ("names '1', which has a label",)),
    Situation("stars in a file", toml("", STARS), words=("set stars in the file for --config",)),
    Situation("a flag beside a file", toml("", STARS), ("--stars",), ("--stars describes --input",)),
    Situation("prompts", jsonl(lambda number: {"prompt": f"{number} ->", "completion": " positive"}),
              words=("--text-column prompt --label-column completion",)),
    Situation("preferences", jsonl(lambda number: {"input": {}, "preferred_output": [], "non_preferred_output": []}),
              words=("Preferences are no labels.",)),
    Situation("chats of another layout", jsonl(lambda number: {"conversations": [{"from": "human", "value": "a"}]}),
              words=('{"messages": [{"role": "user"',)),
    Situation("chats with rows", jsonl(lambda number: chat(number) | {"text": "a", "label": "neutral"}),
              words=("both the key 'messages' of a chat and the column 'text'", "--format chat or --format jsonl")),
    Situation("chats with other answers", jsonl(lambda number: chat(number, answer=("pos", "neg")[number % 2])),
              words=("neg=negative,pos=positive",)),
]  # fmt: skip


REFUSED_AFTER_READING = [
    Situation("half stars read as stars", csv([0.5, 2.5, 4.5]), ("--stars",), ("--cut-points 2.5,3.5",)),
    Situation("German", csv(["Positiv", "Negativ", "Neutral"]), words=("Negativ=negative,Neutral=neutral",)),
    Situation("texts in objects", jsonl(lambda number: {"text": {"body": "a"}, "label": "neutral"}),
              words=("Of an object or a list", "jq -c '.text = .text.body'")),
    Situation("labels in lists", jsonl(lambda number: {"text": f"t {number}", "label": ["neutral"]}),
              words=("Of an object or a list", "jq -c '.label = .label[0]'")),
    Situation("all left out", csv([3]), ("--stars", *TWO), ("All 120 rows", "are left out")),
    Situation("stars beside labels", csv(["positive", *STARS]), words=("119 of 120 rows are", "--leave-out 1,2,3")),
    Situation("another label", csv(["positive", "negative", "unsure"]), TWO,
              ("values that are not in labels: 'unsure'", "--leave-out unsure")),
]  # fmt: skip


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tasks of a preparation in this process, one after the other."""

    def run_tasks(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], *, title: str) -> list[Any]:
        return [function(*each) for each in arguments]

    for module in ("ray_tasks", "checks"):
        monkeypatch.setattr(f"sentiment_ray.data.{module}.run_tasks", run_tasks)
    monkeypatch.setattr("sentiment_ray.data.prepare.connect", lambda: None)


@pytest.mark.parametrize("situation", REFUSED_AT_ONCE, ids=lambda situation: situation.name)
def test_a_situation_is_refused_before_ray_starts(
    situation: Situation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment_ray.data.prepare.connect", lambda: pytest.fail("Ray must not start"))
    assert_refused(situation, tmp_path)


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("situation", REFUSED_AFTER_READING, ids=lambda situation: situation.name)
def test_a_situation_is_refused_after_all_rows_are_read(situation: Situation, tmp_path: Path) -> None:
    assert_refused(situation, tmp_path)


def assert_refused(situation: Situation, tmp_path: Path) -> None:
    actual = run_prepare(situation, tmp_path)
    assert (actual.exit_code, actual.stdout) == (2, "")
    assert actual.stderr.splitlines() == actual.error_lines, "one line, and no traceback"
    assert len(actual.error_lines) == 1
    for words in situation.words:
        assert words in actual.error_lines[0]
    assert CANARY not in actual.stderr
    assert not (tmp_path / "out").exists()


READ = [
    Situation("stars", csv(STARS), ("--stars",)),
    Situation("stars for two labels", csv(STARS), ("--stars", *TWO), left_out=24),
    Situation("stars for labels in capitals", csv(STARS), ("--stars", "--labels", "Positive,Negative"), left_out=24),
    Situation("stars in words", csv(["5 stars", "1/5", "★★★☆☆", "4.0 out of 5 stars", "2-star"]), ("--stars",)),
    Situation("stars of a phone", csv(["⭐️⭐️⭐️⭐️⭐️", "⭐️", "🌟🌟🌟", "*****", "**"]), ("--stars",)),
    Situation("stars as words say them", csv(["five stars", "One star", "Rating: 3", "three-stars"]), ("--stars",)),
    Situation("stars of other countries", csv(['"4,0 von 5 Sternen"', '"1,0 sur 5 étoiles"', "3 de 5 estrellas",
                                               "5つ星のうち5.0"]), ("--stars",)),
    Situation("labels with invisible characters", csv(["positive\u200b", "\xa0negative", "NEUTRAL\ufeff"])),
    Situation("own stars", csv(STARS), ("--stars", "bad=1,2,3 good=4,5", "--labels", "bad,good")),
    Situation("own stars between commas", csv(STARS),
              ("--stars", "bad=1,2,good=4,5", "--leave-out", "3", "--labels", "bad,good"), left_out=24),
    Situation("stars in a file", toml('stars = "usual"', STARS)),
    Situation("values to leave out in a file",
              toml("label_map = { 1 = 'negative', 2 = 'positive', 4 = 'neutral' }\nleave_out = [3, 5]", STARS),
              left_out=48),
    Situation("a map", csv(["pos", "neg", "neu"]), ("--label-map", "pos=positive, neg=negative, neu=neutral")),
    Situation("a map of negative numbers", csv([-1, 0, 1]), ("--label-map", "-1=negative,0=neutral,1=positive")),
    Situation("grades", csv([2, 5, 9]), ("--cut-points", "4,7.5")),
    Situation("a label to leave out", csv(["positive", "negative", "Mixed"]), ("--leave-out", "mixed", *TWO),
              left_out=40),
    Situation("chats", jsonl(chat)),
    Situation("chats with gzip", jsonl(chat, name="in.jsonl.gz")),
    Situation("chats with developer messages", jsonl(lambda number: chat(number, role="developer"))),
    Situation("chats in parts", jsonl(lambda number: chat(number, question=[{"type": "text", "text": str(number)}]))),
    Situation("chats with a weight of 0", jsonl(lambda number: chat(number, weight=min(number, 1))), rejected=1,
              words=("Set aside 1 of 120 rows (chat whose answer has weight 0: 1).", "in.jsonl, row 1.", "/rejected.")),
    Situation("prompts", jsonl(lambda number: {"prompt": f"{number} ->", "completion": ANSWERS[number % 2]}),
              ("--text-column", "prompt", "--label-column", "completion", *TWO)),
    Situation("a few unknown labels", csv(["positive", "negative"] * 30 + ["?"]), TWO, rejected=1,
              words=("Set aside 1 of 120 rows (label '?' is not in labels: 1)",)),
]  # fmt: skip


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("situation", READ, ids=lambda situation: situation.name)
def test_a_situation_is_read(situation: Situation, tmp_path: Path) -> None:
    actual = run_prepare(situation, tmp_path)
    assert (actual.exit_code, actual.error_lines) == (0, []), actual.stderr
    counts = actual.result["counts"]
    assert counts["left_out"] == situation.left_out
    assert counts["rejected"] == situation.rejected
    assert counts["rows_in"] == 120 - situation.left_out
    for words in situation.words:
        assert words in actual.stderr
    assert (f"Left out {situation.left_out} rows" in actual.stderr) == bool(situation.left_out)
    assert bool(actual.warning_lines) == bool(situation.words)
    by_label = read_json(tmp_path / "out" / "prepared.json")["by_label"]
    assert min(by_label.values()) >= 20
