"""`make lint` refuses words and phrases that were retired, however a file breaks its lines."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with the check and a list of one phrase."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / ".ci/retired_sentences.txt").write_text("what nobody wharfles for costs the least\n\n")
    (tmp_path / ".ci/retired_words.txt").write_text("wharfled->asked\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def _check_sentences(repository: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ".ci/check_retired_sentences.py"]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True)


@pytest.mark.parametrize(
    "text",
    [
        "It is known that what nobody wharfles for costs the least.",
        "def f():\n    # So what nobody\n    # wharfles for costs the least\n",
        'message = (\n    "What nobody wharfles for "\n    f"costs the least: {n}"\n)\n',
        "`What` nobody *wharfles*\nfor\n\n> costs the least",
    ],
)
def test_a_retired_phrase_is_found_in_prose_comments_and_strings(repository: Path, text: str) -> None:
    (repository / "file.py").write_text(text)
    done = _check_sentences(repository)
    assert done.returncode == 1
    assert done.stderr == "file.py: retired phrase: what nobody wharfles for costs the least\n"


def test_other_words_and_the_list_itself_pass(repository: Path) -> None:
    (repository / "file.py").write_text(
        "somewhat nobody wharfles for costs the least; what nobody wharfles for costs the leastest"
    )
    assert (_check_sentences(repository).returncode, _check_sentences(repository).stderr) == (0, "")


@pytest.mark.parametrize(("word", "code"), [("wharfled", 65), ("Wharfled", 65), ("recie" + "ve", 65), ("outcomes", 0)])
def test_codespell_refuses_retired_words_and_typing_errors(repository: Path, word: str, code: int) -> None:
    (repository / "file.py").write_text(f"# The {word} of rows.\n")
    command = [Path(sys.executable).parent / "codespell", "file.py"]
    assert subprocess.run(command, cwd=repository, capture_output=True).returncode == code


def test_lists_are_well_formed() -> None:
    words = (ROOT / ".ci/retired_words.txt").read_text().splitlines()
    malformed = [line for line in words if line and not (line == line.lower() and line.count("->") == 1)]
    assert malformed == []
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["codespell"]["dictionary"]
