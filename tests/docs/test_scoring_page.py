"""Each disturbance that the page about scoring answers has a test, and the test exists."""

import re

from tests.docs.documents import ROOT


def test_every_disturbance_names_a_test_that_exists() -> None:
    page = (ROOT / "docs/scoring.md").read_text(encoding="utf-8")
    section = re.split(r"\n##+ ", page.partition("## What may go wrong")[2])[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 20
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    assert all(named), "a row names no test"
    assert [name for names in named for name in names if name not in defined] == []
