"""Makes what contenders need: environments, and the checkpoint in the formats of other libraries."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import click
from harness import ROOT, Bench, Contender
from journal import hash_files

from sentiment_ray.config.shell import print_result
from sentiment_ray.errors import ConfigError


@dataclass(frozen=True)
class Export:
    """The checkpoint in another format, and the documented commands of an environment that write it.

    In the commands `{checkpoint}` and `{target}` stand for the two directories.
    """

    name: str
    environment: str
    commands: tuple[str, ...]


OPTIMUM = Export(
    "optimum",
    "ray-onnxruntime",
    (
        "optimum-cli export onnx --model {checkpoint} --task text-classification {target}",
        "optimum-cli onnxruntime quantize --avx512_vnni --onnx_model {target} -o {target}/int8",
        "cp {target}/int8/model_quantized.onnx {target}",
    ),
)


def make_export(bench: Bench, export: Export) -> None:
    """Write an export of the checkpoint to the working directory, unless it is there already.

    ConfigError when a command fails. Only a complete export gets the file `made-from`.
    """
    target, stamp = bench.workdir / export.name, bench.workdir / export.name / "made-from"
    wanted = hash_files([bench.checkpoint / "model.safetensors"])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    search_path = f"{bench.interpreter_path(export.environment).parent}:{os.environ['PATH']}"
    for command in export.commands:
        words = [word.format(checkpoint=bench.checkpoint, target=target) for word in command.split()]
        done = subprocess.run(
            words,
            cwd=bench.workdir,
            env=os.environ | {"PATH": search_path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ConfigError(f"{' '.join(words[:3])} failed: {done.stderr[-300:]}")
    stamp.write_text(wanted)


def prepare_command(contenders: Sequence[Contender]) -> click.Command:
    """Return the command that makes the environments of the contenders."""
    names = sorted({contender.environment for contender in contenders})

    @click.command(name="prepare")
    @click.option("--workdir", required=True, type=click.Path(path_type=Path), help="Directory for the environments.")
    @click.option("--python", default=sys.executable, help="Interpreter to make them with. [this one]")
    @click.option("--only", multiple=True, type=click.Choice(names), help="Environments to make, one a flag. [all]")
    def prepare(workdir: Path, python: str, only: tuple[str, ...]) -> None:
        """Make a virtual environment from each file in benchmarks/environments/ that a contender uses.

        Environments that are up to date are kept.
        """
        failed = {}
        for name in only or names:
            requirements = ROOT / f"benchmarks/environments/{name}.txt"
            error = _make_environment(workdir / "environments" / name, requirements, python)
            click.echo(f"{name}: {error or 'ready'}", err=True)
            if error:
                failed[name] = error
        print_result({"workdir": str(workdir), "failed": failed})

    return prepare


def _make_environment(directory: Path, requirements: Path, python: str) -> str | None:
    """Make one environment with pip; return the error message, or None."""
    sources = (requirements, ROOT / "constraints.txt", ROOT / "pyproject.toml")
    wanted = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = directory / "made-from"
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    make = [python, "-m", "venv", str(directory)]
    install = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (make, [*install, "-r", str(requirements)]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "failed")
    freeze = [str(directory / "bin/python"), "-m", "pip", "freeze", "--disable-pip-version-check"]
    versions = subprocess.run(freeze, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (directory / "versions.txt").write_text(versions)
    stamp.write_text(wanted)
    return None
