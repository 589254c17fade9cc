"""Runs the command of a job in this process, as a shell would, and returns what a person would see."""

import io
import json
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from sentiment_ray.config.shell import run

CLI = "sentiment-ray"


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and all that it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error_lines(self) -> list[str]:
        """The lines of stderr that begin with `error: `."""
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]

    @property
    def warning_lines(self) -> list[str]:
        """The lines of stderr that begin with `warning: `."""
        return [line for line in self.stderr.splitlines() if line.startswith("warning: ")]

    @property
    def result(self) -> dict[str, Any]:
        """The JSON line of stdout; empty if the command printed none."""
        lines = [line for line in self.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines else {}


def run_job(job: str, *args: str, env: Mapping[str, str] | None = None) -> Outcome:
    """Run `python -m jobs.<job> <args>`, or `sentiment-ray <args>`, in this process, with additional variables.

    A stage that needs Ray connects to the cluster of the fixture `ray_cluster`. An exception that a command lets
    through becomes exit code 1 with its traceback on stderr, as in a process of its own.
    """
    command = resolve_name("sentiment_ray.cli:commands" if job == CLI else f"jobs.{job}:main")
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        patch.object(sys, "argv", [job, *args]),
        patch.dict(os.environ, env or {}),
    ):
        try:
            run(command)
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else 1
        except Exception:
            traceback.print_exc(file=stderr)
            exit_code = 1
    return Outcome(exit_code, stdout.getvalue(), stderr.getvalue())
