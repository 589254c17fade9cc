"""A path that does not exist: the message quotes it exactly, and names what was probably meant."""

from pathlib import Path

import pytest
from layouts import STAGES, list_names, write_rows

from sentiment_ray.errors import SentimentRayError


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", str(tmp_path / "shop"))
    return write_rows(tmp_path / "shop/reviews 2024.parquet", ["fine"])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "given",
    [
        "shop/reviews 2024.parquet ",
        " shop/reviews 2024.parquet",
        "shop/reviews 2024.parquet\n",
        '"shop/reviews 2024.parquet"',
        "'shop/reviews 2024.parquet'",
        "shop\\reviews 2024.parquet",
        "$DATA/reviews 2024.parquet",
        "${DATA}/reviews 2024.parquet",
        "Shop/reviews 2024.parquet",
        "shop/Reviews 2024.PARQUET",
        "shop/reviews_2024.parquet",
        "shop/review 2024.parquet",
        "shops/reviews 2024.parquet",
    ],
)
def test_what_was_meant_is_named(reviews: Path, tmp_path: Path, stage: str, given: str) -> None:
    with pytest.raises(SentimentRayError) as refused:
        list_names(stage, given, str(tmp_path / "out"))
    assert str(refused.value).endswith(f"does not exist. Did you mean '{reviews}'?")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("shop/reviews 2024.parquet,shop/b.parquet", "One path or one glob is read. Use a glob"),
        ("shop/{reviews 2024,b}.parquet", "Braces are not read: use a glob"),
        ("nothing/like/it.parquet", "Correct its path."),
        ("shop/nothing-like-it", "Correct its path."),
    ],
)
def test_what_is_no_slip_gets_its_own_remedy(
    reviews: Path, tmp_path: Path, stage: str, given: str, remedy: str
) -> None:
    with pytest.raises(SentimentRayError, match="does not exist") as refused:
        list_names(stage, given, str(tmp_path / "out"))
    assert remedy in str(refused.value)


@pytest.mark.parametrize("stage", STAGES)
def test_blanks_around_a_path_can_be_seen(reviews: Path, tmp_path: Path, stage: str) -> None:
    with pytest.raises(SentimentRayError, match="'[^']*gone.parquet ' does not exist"):
        list_names(stage, "gone.parquet ", str(tmp_path / "out"))


def test_files_of_programs_alone_are_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "in/_SUCCESS", ["no"])
    write_rows(tmp_path / "in/~$reviews.parquet", ["no"])
    write_rows(tmp_path / "in/.~lock.reviews.parquet#", ["no"])
    for stage in STAGES:
        for location in ("in", "in/*"):
            with pytest.raises(SentimentRayError, match=r"only files of programs: \.~lock\S+, _SUCCESS, ~\$reviews"):
                list_names(stage, str(tmp_path / location), str(tmp_path / "out"))


def test_a_name_with_blanks_around_it_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "in/a.parquet", ["fine"])
    (tmp_path / "in/b.parquet ").write_text("x")
    for stage in STAGES:
        list_names(stage, str(tmp_path / "in"), str(tmp_path / "out"))
        assert "other formats (1): 'b.parquet '." in capsys.readouterr().err


def test_a_server_that_cannot_be_reached_is_not_a_missing_file(free_ports: list[int], tmp_path: Path) -> None:
    for stage in ("score", "evaluate"):
        with pytest.raises(SentimentRayError, match="cannot be reached .*127.0.0.1.*Correct its address"):
            list_names(stage, f"http://127.0.0.1:{free_ports[0]}/a.parquet", str(tmp_path / "out"))
