"""What is replaced in transformers is replaced in the version that it was written for, and in one module alone."""

import importlib.metadata
import re
from collections.abc import Callable

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.patches import compute_first_token_only, keep_bf16, without_scripted_positions
from tests.conftest import ROOT
from tests.export.test_first_token import SIZES, USUAL

REPLACES = re.compile(r"\.forward = |MethodType|\bmodeling_\w+\.\w+ = |register_forward")


def _enter_positions(_: PreTrainedModel) -> None:
    with without_scripted_positions():
        pass


@pytest.mark.parametrize("patch", [compute_first_token_only, keep_bf16, _enter_positions])
@pytest.mark.parametrize("version", ["4.56.2", "4.58.0", "5.0.0", "4.5.7"])
def test_another_version_of_transformers_is_not_patched(
    patch: Callable[[PreTrainedModel], None], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model("bert", **SIZES, **USUAL))
    patch(model)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(ConfigError, match=f"transformers {version} is installed; .* pip install 'transformers==4.57"):
        patch(model)


def test_the_patches_stand_in_one_module() -> None:
    files = [path for folder in ("sentiment_ray", "export", "jobs") for path in (ROOT / folder).rglob("*.py")]
    assert {path.name for path in files if REPLACES.search(path.read_text(encoding="utf-8"))} == {"patches.py"}
