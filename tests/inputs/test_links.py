"""A link is what it points to, no row is read twice, and links that lead nowhere say what to do."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import STAGES, list_names, make_relative, write_rows

from sentiment_ray.errors import ConfigError, DataError, SentimentRayError
from sentiment_ray.score.plan import parse_unit
from sentiment_ray.score.reading import check_version
from sentiment_ray.score.score import list_corpus
from sentiment_ray.store_location import open_location


def test_size_and_time_of_a_link_are_those_of_its_target(tmp_path: Path) -> None:
    target = write_rows(tmp_path / "blobs/1", ["one"])
    os.utime(target, (1_600_000_000, 1_600_000_000.25))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.parquet").symlink_to(target)
    (file,) = list_corpus(str(tmp_path / "in"), str(tmp_path / "out")).files
    assert (file.bytes, file.version) == (target.stat().st_size, "1600000000.25")
    unit = {"path": file.path, "version": file.version, "part": "a", "row_groups": [], "group_rows": [], "first_row": 0}
    check_version(parse_unit(unit))
    shutil.copy(target, tmp_path / "blobs/2")
    (tmp_path / "in/a.parquet").unlink()
    (tmp_path / "in/a.parquet").symlink_to(tmp_path / "blobs/2")
    with pytest.raises(DataError, match="has changed since the plan was made"):
        check_version(parse_unit(unit))


def test_the_version_of_a_plain_file_is_the_one_that_earlier_releases_wrote(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in/a.parquet", ["one"])
    os.utime(path, ns=(1, 1_712_345_678_901_234_567))
    for location in ("in", "in/a.parquet", "in/*.parquet"):
        (file,) = list_corpus(str(tmp_path / location), str(tmp_path / "out")).files
        fs, inner = open_location(str(path))
        assert file.version == str(fs.info(inner)["mtime"]) == "1712345678.9012346"
        assert (file.path, file.name, file.bytes) == (str(path), "a.parquet", path.stat().st_size)


BROKEN = {
    "../.git/annex/objects/x/SHA256E-s1--a.parquet": "run: git annex get a.parquet",
    "../.dvc/cache/files/md5/0a/1b": "run: dvc pull",
    "../../blobs/0a1b": "run hf download again",
    "gone.parquet": "restore the file, or remove the link",
}


@pytest.mark.parametrize("target", BROKEN)
def test_a_link_to_a_missing_file_says_how_to_get_it(tmp_path: Path, target: str) -> None:
    write_rows(tmp_path / "in/b.parquet", ["fine"])
    (tmp_path / "in/a.parquet").symlink_to(target)
    for stage, location in (("prepare", "in"), ("evaluate", "in"), ("prepare", "in/*"), ("evaluate", "in/?.parquet")):
        with pytest.raises(DataError) as raised:
            list_names(stage, str(tmp_path / location), str(tmp_path / "out"))
        message = f"{tmp_path}/in/a.parquet is a link to a missing file ({target}; {BROKEN[target]})"
        assert message in str(raised.value)
    for stage in STAGES:
        with pytest.raises(DataError, match="a.parquet.? is a link to a missing file"):
            list_names(stage, str(tmp_path / "in/a.parquet"), str(tmp_path / "out"))
    names = [file.name for file in list_corpus(str(tmp_path / "in"), str(tmp_path / "out")).files]
    assert names == ["a.parquet", "b.parquet"], "scoring quarantines it with this reason"


def _link_to_itself(directory: Path) -> None:
    (directory / "a.parquet").symlink_to("a.parquet")


def _pipe(directory: Path) -> None:
    os.mkfifo(directory / "a.parquet")


def _device(directory: Path) -> None:
    (directory / "a.parquet").symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_link_to_itself, _pipe, _device])
def test_what_is_no_regular_file_is_never_opened(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "in/b.parquet", ["fine"])
    make(tmp_path / "in")
    for stage in ("prepare", "evaluate"):
        if make is _link_to_itself:
            with pytest.raises(DataError, match="a.parquet is a link to a missing file"):
                list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))
        else:
            read = list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))
            assert make_relative(read, tmp_path / "in") == ["b.parquet"]
            assert "devices, pipes and sockets (1): a.parquet" in capsys.readouterr().err
        with pytest.raises(SentimentRayError, match="is not a regular file|its links lead in a circle"):
            list_names(stage, str(tmp_path / "in/a.parquet"), str(tmp_path / "out"))


def test_loops_and_repeated_directories_are_named_and_read_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    write_rows(root / "2024/a.parquet", ["fine"])
    write_rows(tmp_path / "shop/b.parquet", ["fine"])
    for name, target in {"latest": "2024", "2024/up": "..", "self": ".", "all": "/", "shop": "../shop",
                         "shop-again": "../shop", "deep": "../shop"}.items():  # fmt: skip
        (root / name).symlink_to(target)
    (tmp_path / "shop/back").symlink_to("../in")
    for stage in STAGES:
        read = make_relative(list_names(stage, str(root), str(tmp_path / "out")), root)
        assert read == ["2024/a.parquet", "deep/b.parquet"]
        error = capsys.readouterr().err
        assert "links to what is read under another name (4): deep/back, latest, shop, shop-again" in error
        assert "links to a directory above them (3): 2024/up, all, self" in error


def test_links_in_a_chain_of_directories_take_time_by_their_number(tmp_path: Path) -> None:
    # Each directory has two links to the next: a walk that followed every path would visit 2 ** 40 directories.
    for number in range(40):
        (tmp_path / f"d{number}").mkdir()
        for name in "ab":
            (tmp_path / f"d{number}" / name).symlink_to(f"../d{number + 1}")
    write_rows(tmp_path / "d40/x.parquet", ["fine"])
    assert len(list_names("score", str(tmp_path / "d0"), str(tmp_path / "out"))) == 1


def test_equal_content_under_two_names_is_two_files(tmp_path: Path) -> None:
    blob = write_rows(tmp_path / "blobs/1", ["fine"])
    for country in ("at", "de"):
        (tmp_path / f"in/country={country}").mkdir(parents=True)
        (tmp_path / f"in/country={country}/a.parquet").symlink_to(blob)
    os.link(blob, tmp_path / "in/b.parquet")
    os.link(blob, tmp_path / "in/c.parquet")
    for stage in STAGES:
        read = make_relative(list_names(stage, str(tmp_path / "in"), str(tmp_path / "out")), tmp_path / "in")
        assert read == ["b.parquet", "c.parquet", "country=at/a.parquet", "country=de/a.parquet"]


def test_the_cache_of_the_hub_as_a_whole_is_refused(tmp_path: Path) -> None:
    blob = write_rows(tmp_path / "hub/blobs/1", ["fine"])
    for revision in ("0a1b", "2c3d"):
        (tmp_path / "hub/snapshots" / revision).mkdir(parents=True)
        (tmp_path / "hub/snapshots" / revision / "train.parquet").symlink_to(blob)
    (tmp_path / "hub/refs").mkdir()
    (tmp_path / "hub/refs/main").write_text("2c3d")
    for stage in STAGES:
        with pytest.raises(DataError, match=r"cache of the Hub.*Name one version: .*hub/snapshots/0a1b"):
            list_names(stage, str(tmp_path / "hub"), str(tmp_path / "out"))


def test_an_output_that_a_link_leads_into_the_input_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "in/a.parquet", ["fine"])
    write_rows(tmp_path / "out/b.parquet", ["fine"])
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "in/old").symlink_to("../out")
    for stage in STAGES:
        with pytest.raises(ConfigError, match="lies inside"):
            list_names(stage, str(tmp_path / "in"), str(tmp_path / "link/new"))
        with pytest.raises(ConfigError, match="lies inside"):
            list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))
