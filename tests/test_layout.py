"""Imports follow the layers, every configuration is valid, and every command is documented."""

import ast
import importlib
import importlib.metadata
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sentiment_ray
from jobs.pipeline import STAGES
from sentiment_ray.cli import commands
from sentiment_ray.config.sections import load_config, read_toml
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.train.tune_config import TuneConfig

ROOT = Path(__file__).parent.parent
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if "__main__" in path.read_text())
CONFIGS = sorted((ROOT / "jobs/configs").glob("*.toml"))
HEAVY = {"ray", "torch", "transformers", "pandas", "pyarrow", "optimum", "model_signing"}
README = (ROOT / "README.md").read_text()
PARTS_OF_OTHERS = {"markupsafe", "pydantic_core", "starlette"}
"""Libraries that always come with another one: with jinja2, with pydantic, and with fastapi."""


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_package_exports_only_the_predictor() -> None:
    assert sentiment_ray.__all__ == ["AsyncPredictor", "Prediction", "Predictor", "__version__"]


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in declared}
    imported = set[str]()
    for path in (ROOT / "sentiment_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    packages = importlib.metadata.packages_distributions()
    libraries = imported - sys.stdlib_module_names - {"sentiment_ray", "export", "jobs"} - PARTS_OF_OTHERS
    undeclared = {
        library
        for library in libraries
        if not names & {package.lower().replace("_", "-") for package in packages.get(library, [library])}
    }
    assert not undeclared
    assert "scipy" in libraries


@pytest.mark.parametrize("module", ["sentiment_ray", "sentiment_ray.cli", "sentiment_ray.serve.server"])
def test_the_light_packages_import_no_heavy_library(module: str) -> None:
    assert HEAVY.isdisjoint(_python(f"import sys, {module}; print(*sys.modules, sep='\\n')").splitlines())


def test_a_prediction_imports_no_heavy_library(bundle: Path) -> None:
    ask = f"sentiment_ray.Predictor.load({str(bundle)!r}).predict(['tea'])"
    code = f"import sys, sentiment_ray; {ask}; print(*sys.modules, sep='\\n')"
    assert HEAVY.isdisjoint(_python(code).splitlines())


def test_scoring_and_evaluation_import_no_torch() -> None:
    code = "import sys, sentiment_ray.score.score, sentiment_ray.evaluate.evaluate; print(*sys.modules, sep='\\n')"
    assert {"torch", "transformers", "optimum"}.isdisjoint(_python(code).splitlines())


def test_a_missing_extra_is_named_with_its_pip_command() -> None:
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'ray' else find(name, package)\n"
        "try: import sentiment_ray.score\nexcept ImportError as error: print(type(error).__name__, error)"
    )
    assert _python(code).strip().endswith("pip install 'sentiment-ray[score]'")


def test_import_contracts_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_is_valid(path: Path) -> None:
    configs = {name: config for name, (config, _) in STAGES.items()} | {"serve": ServeConfig, "tune": TuneConfig}
    for section in read_toml(str(path)):
        assert load_config(configs[section], section, file=str(path), flags={})


@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_an_example_in_its_help_and_is_in_the_readme(job: str) -> None:
    command = [sys.executable, "-m", f"jobs.{job}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"python -m jobs.{job}" in done.stdout.partition("Example:")[2]
    assert f"jobs.{job}" in README


@pytest.mark.parametrize("job", JOBS)
def test_the_example_of_a_job_is_a_valid_command(job: str) -> None:
    command = importlib.import_module(f"jobs.{job}").main
    _, _, arguments = command.epilog.partition(f"python -m jobs.{job}")
    command.make_context(job, shlex.split(arguments))


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_the_example_of_a_command_is_valid(name: str) -> None:
    command = commands.commands[name]
    _, _, arguments = command.epilog.partition(f"sentiment-ray {name}")
    command.make_context(name, shlex.split(arguments.partition(">")[0]))


@pytest.mark.parametrize("job", JOBS)
def test_help_imports_no_heavy_library(job: str) -> None:
    assert HEAVY.isdisjoint(_python(f"import sys, jobs.{job}; print(*sys.modules, sep='\\n')").splitlines())


@pytest.mark.parametrize("command", sorted(commands.commands))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"sentiment-ray {command}" in README


def test_jobs_have_at_most_60_lines() -> None:
    assert {
        path.name: lines for path in (ROOT / "jobs").glob("*.py") if (lines := len(path.read_text().splitlines())) > 60
    } == {}


def test_every_folder_has_an_extra_and_kernels_is_not_pinned() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    folders = {path.parent.name for path in (ROOT / "sentiment_ray").glob("*/__init__.py")} - {
        "bundle",
        "config",
        "http_server",
        "inference",
        "input_files",
        "pretrained",
        "metrics",
        "report",
        "text",
    }
    assert folders | {
        "cpu",
        "gpu",
        "rayserve",
        "otel",
        "postgres",
        "clean",
        "export",
        "s3",
        "gcs",
        "delta",
        "iceberg",
        "sign",
        "lora",
        "mlflow",
        "tensorboard",
        "trackio",
        "tune",
        "check",
        "all",
        "dev",
    } == set(extras)
    assert all(f"{extra}" in extras["all"][0] for extra in folders | {"cpu", "check", "export"})
    assert not any(line.startswith("kernels") for line in (ROOT / "constraints.txt").read_text().splitlines())


def test_the_readme_is_short_and_starts_with_a_command() -> None:
    lines = README.splitlines()
    assert len(lines) <= 130
    assert any("make demo" in line for line in lines[:25])


def test_the_wheel_contains_only_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {name.split("/")[0].removesuffix(".dist-info").partition("-")[0] for name in names} == {"sentiment_ray"}
    packaged = {name for name in names if name.startswith("sentiment_ray/")}
    sources = [path for kind in ("*.py", "*.html.j2") for path in (ROOT / "sentiment_ray").rglob(kind)]
    data = {"sentiment_ray/py.typed", "sentiment_ray/inference/behaviour.toml"}
    data.add("sentiment_ray/openai_api/migrations/script.py.mako")
    data |= {f"sentiment_ray/http_server/browser_page/{name}" for name in ("style.css", "shared.js")}
    pages = ("serve", "openai_api")
    data |= {f"sentiment_ray/{page}/playground/{name}" for page in pages for name in ("index.html", "script.js")}
    assert packaged == {path.relative_to(ROOT).as_posix() for path in sources} | data
    assert {f"sentiment_ray/{folder}/report.html.j2" for folder in ("score", "evaluate")} < packaged


DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/bundle.md",
    "docs/evaluation.md",
    "docs/preparing.md",
    "docs/preparing-inputs.md",
    "docs/preparing-splits.md",
    "docs/scoring.md",
    "docs/serving.md",
    "docs/serving-running.md",
    "docs/training.md",
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_use_flags_and_files_that_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for job, arguments in re.findall(r"python -m jobs\.(\w+)([^`\n]*)", text):
        command = importlib.import_module(f"jobs.{job}").main
        known = {flag for parameter in command.params for flag in parameter.opts + parameter.secondary_opts}
        assert set(re.findall(r"--[a-z-]+", arguments)) <= known, job
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or ((ROOT / document).parent / target).exists(), target
