"""A bundle loads unchanged in transformers.js, as browsers and Node use it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sentiment_ray.inference.predictor import Predictor

SCRIPT = Path(__file__).parent / "transformers_js"
INSTALL = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]


@pytest.fixture(scope="module")
def ask() -> Path:
    """The script that asks, its library installed beside it."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    if not (SCRIPT / "node_modules").is_dir():
        done = subprocess.run(INSTALL, cwd=SCRIPT, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm cannot install transformers.js here: {done.stderr.strip().splitlines()[-1]}")
    return SCRIPT / "ask.mjs"


def test_transformers_js_gives_the_same_labels_and_probabilities(bundle: Path, predictor: Predictor, ask: Path) -> None:
    texts = ["The bus leaves at nine.", "I love this little shop.", "never again", "\u2764 caf\u00e9"]
    command = ["node", str(ask), str(bundle)]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, timeout=120, check=True)
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    for probabilities, expected in zip(theirs, predictor.predict(texts), strict=True):
        assert probabilities == pytest.approx(expected.probabilities, abs=1e-4)
        assert max(probabilities, key=lambda label: probabilities[label]) == expected.label
