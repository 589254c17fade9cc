"""Every command of the documents runs: here in a workspace with small data, or in the test that the page names."""

import importlib
import re
import shutil
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_ray.cli import commands
from tests.conftest import word_pieces, write_tiny_encoder
from tests.docs.documents import PAGES, ROOT, Command, read_commands

COMMANDS = [command for page in PAGES for command in read_commands(page)]
SHELL_TOOLS = ("git", "cd", ".", "curl")
"""Programs that are not this project's, which a page may name without a test that runs them."""
RUN_HERE = [page for page in PAGES if any(command.runner is None for command in read_commands(page))]


@pytest.fixture
def workspace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    everyday: list[tuple[str, str]],
    bundle: Path,
) -> Path:
    """The current directory: what a checkout holds after `make demo`, with a tiny encoder and few reviews."""
    (tmp_path / "data/samples").mkdir(parents=True)
    write_tiny_encoder(
        tmp_path / "data/samples/minilm", word_pieces([text for text, _ in everyday], 600), max_positions=130
    )
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/demo").symlink_to(bundle.parent)
    (tmp_path / "runs/old").symlink_to(bundle.parent)
    (tmp_path / "runs/second").mkdir()
    (tmp_path / "runs/second/prepared").symlink_to(bundle.parent / "prepared")
    texts, labels = zip(*everyday, strict=True)
    lines = ["text,label", *(f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in everyday)]
    (tmp_path / "reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(ROOT / "jobs/configs/everyday.jsonl", tmp_path / "examples.jsonl")
    (tmp_path / "reviews").mkdir()
    table = pa.table({"text": texts[:60], "label": labels[:60]})
    for number in range(2):
        pq.write_table(table.slice(30 * number, 30), tmp_path / f"reviews/part-{number}.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find_command(command: Command) -> tuple[click.Command, tuple[str, ...]]:
    """Return the click command that a line of the documents calls, and its arguments."""
    match command.words:
        case ("python", "-m", module, *arguments) if module.startswith("jobs."):
            return importlib.import_module(module).main, tuple(arguments)
        case ("sentiment-ray", name, *arguments):
            return commands.commands[name], tuple(arguments)
    pytest.fail(f"{command}: no command of this project. Name the test that runs it: <!-- run by tests/… -->")


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, workspace: Path, ray_cluster: None) -> None:
    for command in read_commands(page):
        if command.runner is None:
            called, arguments = find_command(command)
            called.main(args=list(arguments), prog_name=command.words[0], standalone_mode=False)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.runner], ids=str)
def test_a_command_that_runs_elsewhere_is_named_there_and_takes_its_arguments(command: Command) -> None:
    """The file that the page names must name the job, the subcommand or the program; a target of make must exist."""
    assert command.runner is not None
    program, text = command.words[0], (ROOT / command.runner).read_text(encoding="utf-8")
    if program in SHELL_TOOLS:
        return
    if program == "make":
        assert re.search(rf"^{command.words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    name = {"python": command.words[2].rpartition(".")[2], "sentiment-ray": command.words[1]}.get(program, program)
    assert name in text, f"{command.runner} never mentions {name}"
    if program in ("python", "sentiment-ray"):
        called, arguments = find_command(command)
        called.make_context(program, list(arguments))
