"""Directories as programs leave them: for each, the files in it, and which of them hold rows."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.sources import list_files, resolve_paths
from sentiment_ray.evaluate.evaluate import list_labelled
from sentiment_ray.score.score import list_corpus

STAGES = ("prepare", "score", "evaluate")


@dataclass(frozen=True)
class Layout:
    """Names below a directory: those that are data, those that are not, and links as name and target.

    `linked` are the links that are data under their own names.
    """

    data: tuple[str, ...]
    other: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    linked: tuple[str, ...] = ()

    @property
    def read(self) -> list[str]:
        return sorted((*self.data, *self.linked))


LAYOUTS = {
    "endings in any case": Layout(("a.parquet", "b.PARQUET", "c.pq", "deep/er/d.Pq", "part-0000.snappy.parquet")),
    "names without an ending": Layout(
        ("part-00000-6f1c0c1e-c000", "part-00001-6f1c0c1e.c000", "000000_0", "rows", "x.parquet.gzip", "y.parq"),
        ("LICENSE", "notes.txt", "z.parquet.bak", "w.parquet.tmp"),
    ),
    "what Spark leaves": Layout(
        ("part-00000.parquet",),
        ("_SUCCESS", "_SUCCESS.crc", ".part-00000.parquet.crc", "_metadata", "_common_metadata", "_started_17",
         "_committed_17", "_temporary/0/part-00001.parquet", "_spark_metadata/0"),
    ),
    "partitions with an underscore or a dot": Layout(
        ("_market=eu/a.parquet", "_market=us/a.parquet", ".year=2024/a.parquet", "day=_x/a.parquet", "day=.x/a.parquet",
         "_market=__HIVE_DEFAULT_PARTITION__/a.parquet", "_market=a%2Fb/a.parquet", "_market=🛒/a.parquet"),
        ("_market/a.parquet", "_SUCCESS"),
    ),
    "hidden names": Layout(
        ("a.parquet",),
        (".b.parquet", "_c.parquet", "_new/d.parquet", ".cache/e.parquet", "deep/.x/y/f.parquet", "._a.parquet",
         "__MACOSX/a.parquet", ".ipynb_checkpoints/a-checkpoint.parquet", ".DS_Store"),
    ),
    "names that shells and globs find hard": Layout(
        ("data [1]/x.parquet", "a b/c  d.parquet", "a::b.parquet", "star*.parquet", "what?.parquet", "no#1.parquet",
         "100%.parquet", "a%20b.parquet", "{x,y}.parquet", "cafe\u0301.parquet", "caf\u00e9.parquet", "-rf.parquet",
         "~x.parquet", "[!a].parquet"),
    ),
    "pointers of DVC": Layout(("a.parquet", "deep/b.pq"), ("a.parquet.dvc", "deep/b.pq.dvc", "gone.parquet.dvc")),
    "our own scores": Layout(
        ("year=2024/reviews-00000.parquet",),
        ("_SUCCESS", "_MANIFEST.json", "_report.json", "_report.html", "_quarantine/_files.parquet",
         "_quarantine/year=2024/reviews-00000.parquet", "_groups/groups.parquet", "_plan/plan.json",
         "_plan/units-00000.parquet", "_plan/files-00000.parquet", "_receipts/units-00000.parquet",
         "_receipts/year=2024/reviews-00000.parquet.json"),
    ),
    "a cache of the Hub": Layout(
        ("../../blobs/" + "0" * 40, "../../blobs/" + "1" * 40), (), (
            ("data/train-00000.parquet", "../../../blobs/" + "0" * 40),
            ("data/train-00001.parquet", "../../../blobs/" + "1" * 40),
        ),
        ("data/train-00000.parquet", "data/train-00001.parquet"),
    ),
    "links to directories": Layout(
        ("2024/a.parquet", "../elsewhere/deep/b.parquet"), (),
        (("shop", "../elsewhere"), ("latest", "2024"), ("2024/up", ".."), ("self", ".")),
        ("shop/deep/b.parquet",),
    ),
    "links to files beside them": Layout(
        ("a.parquet", "../pool/b.parquet"), (),
        (("again.parquet", "a.parquet"), ("deep/b.parquet", "../../pool/b.parquet"), ("c.pq", "../pool/b.parquet")),
        ("deep/b.parquet", "c.pq"),
    ),
    "a volume of Kubernetes": Layout(
        ("..2024_06_01/a.parquet",), (), (("..data", "..2024_06_01"), ("a.parquet", "..data/a.parquet")), ("a.parquet",)
    ),
}  # fmt: skip
NOT_READ = {"a cache of the Hub": ("../",), "links to directories": ("../",), "links to files beside them": ("../",),
            "a volume of Kubernetes": ("..2024",)}  # fmt: skip
"""How the names of data begin that is read through links alone."""


def list_read(name: str) -> list[str]:
    """Return the names of a layout that are read."""
    return [each for each in LAYOUTS[name].read if not each.startswith(NOT_READ.get(name, "\0"))]


def write_layout(name: str, root: Path) -> Path:
    """Write a layout below a directory and return its path; each file has one row, which holds its name."""
    directory = root / "snapshots/0a1b" if name == "a cache of the Hub" else root / "in"
    layout = LAYOUTS[name]
    for each in (*layout.data, *layout.other):
        path = directory / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path = path.parent.resolve() / path.name
        if each in layout.data or ".parquet" in each:
            write_rows(path, [each])
        else:
            path.write_text("this is no Parquet file")
    for each, target in layout.links:
        (directory / each).parent.mkdir(parents=True, exist_ok=True)
        (directory / each).symlink_to(target)
    return directory


def write_rows(path: Path, texts: Iterable[str]) -> Path:
    """Write labelled reviews as a Parquet file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(texts)
    labels = [("positive", "negative")[index % 2] for index in range(len(rows))]
    parquet.write_table(pa.table({"text": rows, "label": labels}), path)
    return path


def list_names(stage: str, location: str, output: str) -> list[str]:
    """Return the paths of the files that a stage would read, in order."""
    if stage == "prepare":
        config = PrepareConfig(output=output, sources=[{"path": location, "name": "s"}])
        return [str(file.path) for file in list_files(resolve_paths(config))]
    if stage == "score":
        return [file.path for file in list_corpus(location, output).files]
    return [file.path for file in list_labelled(location, Path(output), {}).files]


def make_relative(paths: Iterable[str], root: Path | str) -> list[str]:
    """Return paths below a root, sorted."""
    return sorted(path.removeprefix(f"{root}{os.sep}") for path in paths)
