"""JSON of this project can be read by a strict reader: it has no NaN and no infinite number."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_ray.config.shell import print_result
from sentiment_ray.manifest import format_json, write_json

ROOT = Path(__file__).parent.parent
OTHER_NUMBERS = {
    "loss": math.nan,
    "f1": [0.5, math.inf, -math.inf],
    "nested": {"pair": (math.nan, 1), "numpy": np.float64("nan")},
    "text": "NaN",
    "rows": 3,
}
STRICT = {"loss": None, "f1": [0.5, None, None], "nested": {"pair": [None, 1], "numpy": None}, "text": "NaN", "rows": 3}


def read_strictly(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_json_does_not_have_become_null() -> None:
    assert read_strictly(format_json(OTHER_NUMBERS)) == STRICT
    assert read_strictly(format_json(math.nan)) is None


def test_files_and_results_hold_null_instead_of_nan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "run.json", OTHER_NUMBERS)
    assert read_strictly((tmp_path / "run.json").read_text()) == STRICT
    print_result(OTHER_NUMBERS)
    assert read_strictly(capsys.readouterr().out) == STRICT


@pytest.mark.parametrize("value", [{"b": 1, "a": "ü"}, [1.5, None], "x"])
def test_other_values_are_written_as_json_dumps_writes_them(value: Any) -> None:
    assert format_json(value, indent=1, ensure_ascii=False) == json.dumps(value, indent=1, ensure_ascii=False)


def test_no_module_writes_json_by_itself() -> None:
    files = [path for folder in ("sentiment_ray", "export", "jobs") for path in (ROOT / folder).rglob("*.py")]
    found = {
        path.name for path in files if re.search(r"\bjson\.dumps?\(|\.to_json\(", path.read_text(encoding="utf-8"))
    }
    assert found == {"manifest.py", "weights.py"}  # weights.py quotes a header in a message; orjson writes null as well
