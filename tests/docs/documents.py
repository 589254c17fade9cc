"""What the documents hold: their pages, their shell commands, and who runs a command that cannot run here."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"(?:<!-- run by (?P<runner>\S+) -->\n)?```sh\n(?P<body>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One shell command of a page; `runner` is the test file that runs it, None when it runs in the workspace."""

    page: Path
    words: tuple[str, ...]
    runner: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {' '.join(self.words[:3])}"


def read_commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page's `sh` blocks in their order, without comments, continued lines joined."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        for line in block["body"].replace("\\\n", " ").splitlines():
            for part in re.split(r"\s&&\s", line):
                words = tuple(shlex.split(part, comments=True))
                if words:
                    yield Command(page, words, block["runner"])


def prose_paragraphs(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line's number and the lines of each paragraph and list item, without code, tables and titles."""
    lines: list[str] = []
    start, in_code = 0, False
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], start=1):
        in_code ^= line.startswith("```")
        is_prose = bool(line.strip()) and not in_code and not line.startswith(("```", "    ", "|", "#", "<!--", "!["))
        is_item = bool(re.match(r"([-*]|\d+\.) ", line))
        if lines and (not is_prose or is_item):
            yield start, lines
            lines = []
        if is_prose:
            start = start if lines else number
            lines.append(line)
