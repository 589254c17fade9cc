"""The table of checks: every entry is complete, and a new check is one entry and one function."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checked_reviews import get_finding, make_reviews, read_page, write_csv

import sentiment_ray
from sentiment_ray.data.check_config import Limits
from sentiment_ray.data.check_table import CHECKS, Check
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.manifest import read_json

PACKAGE = Path(sentiment_ray.__file__).parent
ENTRY = """CHECKS = (
    Check(
        name="shouting",
        title="Mostly capital letters",
        text_function="text_flags:has_mostly_capitals",
        limit="max_shouting",
        limit_text="Rows that are mostly capital letters, of all kept rows.",
    ),
"""
FUNCTION = '''

def has_mostly_capitals(texts: pa.Array) -> NDArray[np.bool_]:
    """Mark texts in which more than half of the letters are capitals."""
    patterns = (r"\\p{Lu}", r"\\pL")
    capitals, letters = (pc.count_substring_regex(texts, each).to_numpy(zero_copy_only=False) for each in patterns)
    return capitals > letters / 2
'''


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_entry_names_what_exists(check: Check) -> None:
    assert bool(check.text_function) != bool(check.count_function)
    assert callable(check.load_function())
    assert not check.needs or check.needs in PrepareConfig.model_fields
    assert not check.limit or check.limit in Limits.model_fields
    template = (PACKAGE / "data/report/report.html.j2").read_text(encoding="utf-8")
    assert not check.section or f'id="{check.section}"' in template


def test_names_are_unique_and_every_limit_is_described_once() -> None:
    names = [check.name for check in CHECKS]
    described = [check.limit for check in CHECKS if check.limit_text]
    assert len(set(names)) == len(names)
    assert sorted(described) == sorted({check.limit for check in CHECKS if check.limit})


def test_a_new_check_is_one_entry_and_one_function(tmp_path: Path) -> None:
    for name in ("sentiment_ray", "jobs"):
        shutil.copytree(PACKAGE.parent / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    table, functions = (tmp_path / "sentiment_ray/data" / name for name in ("check_table.py", "report/text_flags.py"))
    table.write_text(table.read_text(encoding="utf-8").replace("CHECKS = (\n", ENTRY, 1), encoding="utf-8")
    with functions.open("a", encoding="utf-8") as file:
        file.write(FUNCTION)
    rows = [
        (text.upper() if number % 4 == 0 else text, label) for number, (text, label) in enumerate(make_reviews(100))
    ]
    source = write_csv(tmp_path / "reviews.csv", rows)
    (tmp_path / "check.toml").write_text(
        f'[prepare]\noutput = "{tmp_path}/out"\ninput = "{source}"\ncheck = true\n'
        "[prepare.limits]\nmax_shouting = 0.1\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "jobs.prepare_reviews", "--config", "check.toml"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert "max_shouting = 0.1, found 0.25" in done.stderr
    checks = read_json(tmp_path / "out/report.json")["checks"]
    assert get_finding(checks, "shouting") == (25, 100)
    assert checks["quality"]["shouting"] == {"reviews": 25}
    assert re.search(r"Mostly capital letters *25 *100 *25 %", read_page(tmp_path / "out").text)
