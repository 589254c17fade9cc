"""docs/vex.cdx.json says why known flaws of transformers cannot be reached, and names the tests that show it."""

import ast
import json
import re
from pathlib import Path

import jsonschema
import pytest

from sentiment_ray.bundle.model_config import FAMILIES

ROOT = Path(__file__).parents[1]
VEX = json.loads((ROOT / "docs/vex.cdx.json").read_text())
SOURCES = sorted(path for folder in ("sentiment_ray", "export", "jobs") for path in (ROOT / folder).rglob("*.py"))
USED = {
    "AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer", "BatchEncoding",
    "PretrainedConfig", "PreTrainedModel", "PreTrainedTokenizerBase", "PreTrainedTokenizerFast", "logging",
    "modeling_deberta_v2", "__version__",
}  # fmt: skip
"""What this project may import from transformers: no Trainer, no conversion scripts, no family of the flaws."""

TEXT = {"type": "string", "minLength": 1}
SCHEMA = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "vulnerabilities"],
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"},
        "version": {"type": "integer", "minimum": 1},
        "vulnerabilities": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "source", "description", "advisories", "analysis", "affects", "properties"],
                "properties": {
                    "id": TEXT,
                    "source": {"required": ["name", "url"]},
                    "references": {"items": {"required": ["id", "source"]}},
                    "description": TEXT,
                    "advisories": {"type": "array", "minItems": 1, "items": {"required": ["url"]}},
                    "analysis": {
                        "additionalProperties": False,
                        "required": ["state", "justification", "detail"],
                        "properties": {
                            "state": {"const": "not_affected"},
                            "justification": {
                                "enum": [
                                    "code_not_present", "code_not_reachable", "requires_configuration",
                                    "requires_dependency", "requires_environment", "protected_by_compiler",
                                    "protected_at_runtime", "protected_at_perimeter", "protected_by_mitigating_control",
                                ],
                            },
                            "detail": TEXT,
                        },
                    },
                    "affects": {"type": "array", "minItems": 1, "items": {"required": ["ref"]}},
                    "properties": {"type": "array", "minItems": 1, "items": {"required": ["name", "value"]}},
                },
            },
        },
    },
}  # fmt: skip
"""The part of the CycloneDX 1.6 schema that the statement uses."""


def _imports_from_transformers(path: Path) -> set[str]:
    """Return the names that a module imports from transformers, and the attributes that it takes from it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "transformers":
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "transformers":
            names.add(node.attr)
    return names


def test_the_statement_is_cyclonedx_and_about_the_pinned_version() -> None:
    jsonschema.validate(VEX, SCHEMA)
    pinned = re.search(r"^transformers==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert [component["purl"] for component in VEX["components"]] == [f"pkg:pypi/transformers@{pinned[1]}"]
    references = {component["bom-ref"] for component in VEX["components"]}
    assert all(target["ref"] in references for entry in VEX["vulnerabilities"] for target in entry["affects"])
    assert len({entry["id"] for entry in VEX["vulnerabilities"]}) == len(VEX["vulnerabilities"])


@pytest.mark.parametrize("entry", VEX["vulnerabilities"], ids=lambda entry: entry["id"])
def test_the_tests_that_an_entry_names_exist(entry: dict[str, list[dict[str, str]]]) -> None:
    for reference in entry["properties"]:
        file, _, test = reference["value"].partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), reference["value"]


def test_vulnerable_model_types_are_refused() -> None:
    vulnerable = {"lightglue", "perceiver", "transfo-xl", "megatron-gpt2", "xclip", "glm4", "sew", "sew-d", "hubert"}
    assert vulnerable.isdisjoint(FAMILIES)


def test_only_known_parts_of_transformers_are_imported() -> None:
    imported = {name: path.name for path in SOURCES for name in _imports_from_transformers(path)}
    assert {name: file for name, file in imported.items() if name not in USED} == {}


def test_torch_reads_weights_only() -> None:
    calls = [
        (path.name, ast.unparse(node))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert calls, "the project reads its own checkpoints with torch.load"
    assert [call for call in calls if "weights_only=True" not in call[1]] == []
