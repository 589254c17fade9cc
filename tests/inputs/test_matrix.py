"""Every stage reads the same files: of a directory, a glob or a file, on a disk and on an object store."""

import os
from pathlib import Path
from typing import Any

import pytest
from layouts import LAYOUTS, STAGES, list_names, list_read, make_relative, write_layout, write_rows

from sentiment_ray.errors import DataError, SentimentRayError
from sentiment_ray.evaluate.evaluate import list_labelled
from sentiment_ray.manifest import hash_file
from sentiment_ray.score.score import list_corpus
from sentiment_ray.store_location import open_location

REMOTE_STAGES = ("score", "evaluate")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_directory_holds_the_same_files_for_every_stage(tmp_path: Path, stage: str, layout: str) -> None:
    directory, output = write_layout(layout, tmp_path), str(tmp_path / "out")
    assert make_relative(list_names(stage, str(directory), output), directory) == list_read(layout)
    assert make_relative(list_names(stage, f"{directory}/**", output), directory) == list_read(layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_each_file_can_be_named_itself(tmp_path: Path, stage: str, layout: str) -> None:
    directory = write_layout(layout, tmp_path)
    for name in list_read(layout):
        path = str(directory / name)
        assert list_names(stage, path, str(tmp_path / "out")) == [path]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bucket_holds_the_same_files_as_a_disk(tmp_path: Path, s3: str, layout: str) -> None:
    directory = write_layout(layout, tmp_path)
    files = {name: (directory / name).read_bytes() for name in (*list_read(layout), *LAYOUTS[layout].other)}
    location = f"{s3}/inputs {len(layout)}/{list(LAYOUTS).index(layout)}"
    fs, root = open_location(location)
    fs.pipe({f"{root}/{name}": content for name, content in files.items()})
    fs.touch(f"{root}/made by a console/")
    for stage in REMOTE_STAGES:
        assert make_relative(list_names(stage, location, str(tmp_path / "out")), location) == list_read(layout)
        assert make_relative(list_names(stage, f"{location}/", str(tmp_path / "out")), location) == list_read(layout)
        assert make_relative(list_names(stage, f"{location}/**", str(tmp_path / "out")), location) == list_read(layout)
    one = list_read(layout)[0]
    assert list_names("score", f"{location}/{one}", str(tmp_path / "out")) == [f"{location}/{one}"]


GLOBS = {
    "*.parquet": ["a.parquet", "b.parquet"],
    "?.parquet": ["a.parquet", "b.parquet"],
    "[ab].parquet": ["a.parquet", "b.parquet"],
    "*": ["a.parquet", "b.parquet", "rows"],
    "year=*": ["year=2024/c.parquet", "year=2025/[x]/d.parquet"],
    "year=*/*.parquet": ["year=2024/c.parquet"],
    "year=2025/[x]/*": ["year=2025/[x]/d.parquet"],
    "*/[x]/d.parquet": ["year=2025/[x]/d.parquet"],
    "**/*.parquet": ["a.parquet", "b.parquet", "year=2024/c.parquet", "year=2025/[x]/d.parquet"],
    "**/d.parquet": ["year=2025/[x]/d.parquet"],
    "_n*/*": ["_new/e.parquet"],
    "_new/*": ["_new/e.parquet"],
    "*.pa?quet": ["a.parquet", "b.parquet"],
    "[!a].parquet": ["b.parquet"],
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, s3: str) -> list[str]:
    """The same files on a disk and in a bucket; names of the directories have brackets and stars."""
    root = tmp_path_factory.mktemp("trees") / "in [v1] *"
    for name in ("a.parquet", "b.parquet", "rows", "year=2024/c.parquet", "year=2025/[x]/d.parquet", "_new/e.parquet"):
        write_rows(root / name, [name])
    (root / "_SUCCESS").touch()
    (root / "notes.txt").write_text("no rows")
    fs, bucket = open_location(s3)
    fs.pipe({f"{bucket}/trees [1]/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*.*")})
    fs.pipe({f"{bucket}/trees [1]/rows": (root / "rows").read_bytes(), f"{bucket}/trees [1]/_SUCCESS": b""})
    return [str(root), f"{s3}/trees [1]"]


@pytest.mark.parametrize("pattern", GLOBS)
def test_a_glob_matches_the_same_files_everywhere(tree: list[str], tmp_path: Path, pattern: str) -> None:
    for root in tree:
        for stage in STAGES if root.startswith("/") else REMOTE_STAGES:
            actual = make_relative(list_names(stage, f"{root}/{pattern}", str(tmp_path / "out")), root)
            assert actual == GLOBS[pattern], (stage, root)


@pytest.mark.parametrize("stage", STAGES)
def test_a_glob_without_a_match_and_a_missing_path_are_named(tmp_path: Path, s3: str, stage: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("no rows")
    cases = {"in/*.parquet": "does not hold", "in/gone.parquet": "does not exist", "[1]/*": "does not hold",
             "gone/*": "no directory",
             "in": r"only notes\.txt", "gone": "does not exist", "x" * 300: "does not exist|too long"}  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(SentimentRayError, match=message):
            list_names(stage, str(tmp_path / name), str(tmp_path / "out"))
    if stage in REMOTE_STAGES:
        with pytest.raises(DataError, match=r"nothing.* does not exist"):
            list_names(stage, f"{s3}/nothing", str(tmp_path / "out"))


def test_what_is_left_out_is_counted_by_kind_and_named_if_it_may_surprise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_layout("hidden names", tmp_path)
    for name in ("reviews.csv", "old.txt", "line\nbreak.txt"):
        (directory / name).write_text("text\nnobody reads this\n")
    listing = list_corpus(str(directory), str(tmp_path / "out"))
    assert listing.describe_left_out() == {
        "hidden_data": 4,
        "markers": 5,
        "other_formats": 3,
        "names": [".b.parquet", "_c.parquet", "_new/d.parquet", "deep/.x/y/f.parquet", "'line\\nbreak.txt'", "old.txt",
                  "reviews.csv"],
    }  # fmt: skip
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: Not read in {directory}: other formats (3): 'line\\nbreak.txt', old.txt, reviews")
    assert "_new/d.parquet" in line
    list_corpus(str(write_layout("what Spark leaves", tmp_path / "other")), str(tmp_path / "out"))
    assert capsys.readouterr().err == ""


def test_a_name_outside_utf_8_is_scored_and_otherwise_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.parquet", ["fine"]).rename(tmp_path / "in" / "caf\udce9.parquet")
    (path,) = list_names("score", str(tmp_path / "in"), str(tmp_path / "out"))
    assert Path(path).is_file()
    for stage in ("prepare", "evaluate"):
        with pytest.raises(DataError, match="caf\ufffd.parquet: the name is not UTF-8.*Rename the file"):
            list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))


def test_a_pointer_of_dvc_is_named_only_without_its_file(tmp_path: Path) -> None:
    directory = write_layout("pointers of DVC", tmp_path)
    left_out = list_corpus(str(directory), str(tmp_path / "out")).left_out
    assert left_out == {"markers": ["a.parquet.dvc", "deep/b.pq.dvc"], "other_formats": ["gone.parquet.dvc"]}
    for stage in STAGES:
        with pytest.raises(DataError, match=r"only gone.parquet.dvc\. Run: dvc pull"):
            (tmp_path / "pointers").mkdir(exist_ok=True)
            (tmp_path / "pointers/gone.parquet.dvc").touch()
            list_names(stage, str(tmp_path / "pointers"), str(tmp_path / "out"))


def test_a_directory_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "in/deep/a.parquet", ["fine"])
    write_rows(tmp_path / "in/b.parquet", ["fine"])
    real = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for stage in STAGES:
        with pytest.raises(DataError, match=r"deep cannot be listed \(Permission denied\)"):
            list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))


def test_a_path_typed_in_another_form_of_unicode_is_found(tmp_path: Path) -> None:
    write_rows(tmp_path / "cafe\u0301/a.parquet", ["fine"])
    for stage in STAGES:
        (path,) = list_names(stage, str(tmp_path / "caf\u00e9"), str(tmp_path / "out"))
        assert Path(path).is_file()


def test_prepared_reviews_mean_their_splits_and_their_test_split_is_evaluated(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {"made_from": {"prepared": hash_file(prepared / "prepared.json")}}
    output = tmp_path / "out"
    listing = list_labelled(str(prepared), output, training)
    assert {file.name.split("/")[0] for file in listing.files} == {"test"}
    line = capsys.readouterr().err
    assert "holds prepared reviews. Rows are read from test, and not from" in line
    assert "train" in line
    assert {file.name.split("/")[0] for file in list_corpus(str(prepared), str(output)).files} == {
        "train", "validation", "test",
    }  # fmt: skip
    capsys.readouterr()
    for location in (f"{prepared}/train", f"{prepared}/tra*/*", f"{prepared}/**"):
        list_labelled(location, output, training)
        assert "is the train split that this model was made with" in capsys.readouterr().err
    list_labelled(f"{prepared}/test", output, training)
    list_labelled(f"{prepared}/train", output, {})
    assert capsys.readouterr().err == ""
