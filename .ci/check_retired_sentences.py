"""Refuses the phrases of .ci/retired_sentences.txt wherever they stand in the repository, broken over lines or not."""

import re
import subprocess
import sys
from pathlib import Path

LIST = ".ci/retired_sentences.txt"


def main() -> None:
    """Name every file that holds a retired phrase, and end with 1 if there is one."""
    phrases = [(line, words_only(line)) for line in Path(LIST).read_text(encoding="utf-8").splitlines() if line.strip()]
    hits = [
        f"{file}: retired phrase: {line.strip()}"
        for file in repository_files()
        for text in [words_only(Path(file).read_text(encoding="utf-8", errors="replace"))]
        for line, phrase in phrases
        if phrase in text
    ]
    sys.exit("\n".join(hits) or 0)


def repository_files() -> list[str]:
    """Return the files that git tracks, and the new ones that it does not ignore, but for the list itself."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(name for name in set(names) - {LIST} if Path(name).is_file())


def words_only(text: str) -> str:
    """Return the words of a text in lower case between single spaces, without the quotes and signs between them."""
    words = re.findall(r"[^\W_]+", re.sub(r"\b[fr]+(?=[\"'])", "", text.lower()))
    return f" {' '.join(words)} "


if __name__ == "__main__":
    main()
