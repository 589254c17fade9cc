"""Prints the lowest versions that pyproject.toml allows, as pip constraints; the arguments are extras.

Example: python .ci/lowest_versions.py cpu serve > lowest.txt; pip install -c lowest.txt .[cpu,serve]
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lowest_versions(*extras: str) -> list[str]:
    """Return `name==version` for each direct dependency of the package and of these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"]]
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    return sorted({_lowest(requirement) for requirement in requirements})


def _lowest(requirement: str) -> str:
    match = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)(?:,<[\w.]+)?", requirement.replace(" ", ""))
    if match is None:
        raise SystemExit(f"pyproject.toml: {requirement!r} has no lower bound. Write it as name>=version.")
    return f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest_versions(*sys.argv[1:])) + "\n")
