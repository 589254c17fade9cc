"""The pages are short-lined, their links lead somewhere, and the site builds without a warning."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from report import read_results, write_page

from tests.docs.documents import PAGES, ROOT, prose_paragraphs

MAX_LINE, MAX_PARAGRAPH_LINES = 100, 5
RESULT_KEYS = {"date", "machine", "what", "question"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_and_paragraphs_are_short(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [f"{page.name}:{number}" for number, line in enumerate(lines, 1) if len(line) > MAX_LINE and line[:1] != "|"]
    assert long == []
    assert [start for start, paragraph in prose_paragraphs(page) if len(paragraph) > MAX_PARAGRAPH_LINES] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("http") and "reference/" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', home) == []
    keys = (tmp_path / "reference/keys.html").read_text(encoding="utf-8")
    assert "max_quarantined" in keys and "tokens_per_batch" in keys


def test_every_result_says_what_when_and_where() -> None:
    rows = read_results(ROOT / "benchmarks/results")
    results = [row for row in rows if row["kind"] == "result"]
    assert len(results) > 100
    assert [json.dumps(row) for row in results if not row.keys() >= RESULT_KEYS] == []
    machines = {row["machine"] for row in rows if row["kind"] == "machine"}
    assert {row["machine"] for row in results} <= machines


def test_the_page_of_benchmarks_is_what_the_results_give(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    write_page(read_results(ROOT / "benchmarks/results"), tmp_path)
    assert (tmp_path / "docs/benchmarks.md").read_text() == (ROOT / "docs/benchmarks.md").read_text()
    drawn = {path.name for path in (tmp_path / "docs/images").glob("benchmark-*.svg")}
    assert drawn == {path.name for path in (ROOT / "docs/images").glob("benchmark-*.svg")}
