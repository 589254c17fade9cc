"""A key that was renamed is read under its old name for one release, with a warning."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from sentiment_ray.config import sections
from sentiment_ray.config.sections import SectionConfig
from sentiment_ray.config.shell import stage_job
from sentiment_ray.errors import ConfigError


class _Table(SectionConfig):
    """A table inside a section, with one renamed key."""

    renamed: ClassVar[Mapping[str, str]] = {"old_rows": "rows"}
    rows: int = 1


class _Section(SectionConfig):
    """A section with one renamed key and a table."""

    renamed: ClassVar[Mapping[str, str]] = {"old_share": "ratio"}
    ratio: float = 0.0
    """A ratio."""
    parts: tuple[_Table, ...] = ()


@stage_job("train", _Section, example="none")
def _job(config: _Section) -> dict[str, object]:
    """Print the configuration."""
    return config.model_dump()


@pytest.fixture
def warn_again() -> Iterator[None]:
    sections._warn_renamed.cache_clear()
    yield
    sections._warn_renamed.cache_clear()


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "test.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.usefixtures("warn_again")
def test_the_old_name_of_a_key_is_read_from_a_file_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "[train]\nold_share = 0.5\n[[train.parts]]\nold_rows = 7\n[[train.parts]]\nold_rows = 8\n"
    _job.main(["--config", _file(tmp_path, text)], standalone_mode=False)
    config, stderr = capsys.readouterr()
    assert json.loads(config) == {"ratio": 0.5, "parts": [{"rows": 7}, {"rows": 8}]}
    assert stderr.splitlines() == [
        "warning: 'old_share' is now called 'ratio'. The next release no longer knows the old name.",
        "warning: 'old_rows' is now called 'rows'. The next release no longer knows the old name.",
    ]


@pytest.mark.usefixtures("warn_again")
def test_the_old_name_of_a_flag_wins_over_the_file_and_is_not_in_the_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, "[train]\nratio = 0.5")
    _job.main(["--config", file, "--old-share", "0.25"], standalone_mode=False)
    config, stderr = capsys.readouterr()
    assert json.loads(config)["ratio"] == 0.25
    assert stderr.count("warning: 'old_share' is now called 'ratio'") == 1
    _job.main(["--help"], standalone_mode=False)
    help_text = capsys.readouterr().out
    assert "--ratio" in help_text
    assert "--old-share" not in help_text


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", ["--ratio", "0.1", "--old-share", "0.1"]),
        ("ratio = 0.1\nold_share = 0.1", []),
        ("parts = [{ rows = 1, old_rows = 1 }]", []),
    ],
)
def test_both_names_of_a_key_are_refused(tmp_path: Path, text: str, flags: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"is the old name of 'r\w+' and both are given"):
        _job.main(["--config", _file(tmp_path, f"[train]\n{text}\n"), *flags], standalone_mode=False)
