"""Writes the reference pages while the site is built: keys and commands from the code's own descriptions."""

import importlib
from collections.abc import Iterator

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.pipeline import STAGES
from sentiment_ray.cli import commands
from sentiment_ray.openai_api.config import OpenAiApiConfig
from sentiment_ray.serve.config import ServeConfig
from sentiment_ray.train.tune_config import TuneConfig

JOBS = (
    "fetch_samples",
    "prepare_reviews",
    "train_encoder",
    "tune_encoder",
    "export_bundle",
    "evaluate_bundle",
    "score_reviews",
    "pipeline",
)
PYTHON = """# Python

The package offers one class to load a bundle with, one that answers many callers at once, and one
for answers.

::: sentiment_ray.Predictor
    options:
      members: [load, predict, score, is_batch_invariant]

::: sentiment_ray.inference.async_predictor.AsyncPredictor
    options:
      members: [score, predict, warm_up, read_statistics, close]

::: sentiment_ray.Prediction

## Errors

::: sentiment_ray.errors
"""


def key_lines(section: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield the table of one section's keys, and of the tables inside it."""
    yield from (f"## [{section}]", "", "| key | default | what |", "|---|---|---|")
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split()).replace("|", "\\|")
        yield f"| `{name}` | {_default(field)} | {text} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value in (None, "", (), {}) or isinstance(value, BaseModel):
        return ""
    return f"`{','.join(map(str, value))}`" if isinstance(value, tuple) else f"`{value}`"


def all_sections() -> dict[str, type[BaseModel]]:
    """Return every section of a configuration file, the tables inside sections after their section."""
    sections: dict[str, type[BaseModel]] = {}
    stages = {name: config for name, (config, _) in STAGES.items()}
    stages |= {"tune": TuneConfig, "serve": ServeConfig, "openai_api": OpenAiApiConfig}
    for name, model in stages.items():
        sections[name] = model
        for key, field in model.model_fields.items():
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    sections[f"{name}.{key}"] = kind
    return sections


def command_lines(name: str, command: click.Command) -> Iterator[str]:
    """Yield what `--help` says of one command, or of each command of a group."""
    if isinstance(command, click.Group):
        for part, each in command.commands.items():
            yield from command_lines(f"{name} {part}", each)
        return
    context = click.Context(command, info_name=name, max_content_width=100)
    yield from (f"## {name}", "", "```text", command.get_help(context), "```", "")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/keys.md, reference/commands.md and reference/python.md to the site; called by mkdocs."""
    keys = [line for name, model in all_sections().items() for line in key_lines(name, model)]
    jobs = [
        line
        for name in JOBS
        for line in command_lines(f"python -m jobs.{name}", importlib.import_module(f"jobs.{name}").main)
    ]
    shell = [
        line
        for name, command in sorted(commands.commands.items())
        for line in command_lines(f"sentiment-ray {name}", command)
    ]
    pages = {
        "keys.md": ["# Keys", "", "Every key of a configuration file. A simple key is a flag, too.", "", *keys],
        "commands.md": ["# Commands", "", *jobs, *shell],
        "python.md": PYTHON.splitlines(),
    }
    for name, lines in pages.items():
        files.append(File.generated(config, f"reference/{name}", content="\n".join(lines) + "\n"))
    return files
