"""Finds the directory of the project, in which the commands of jobs run."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sentiment_ray.errors import ConfigError


@cache
def find_project_root() -> Path:
    """Return the directory that holds `jobs/`; ConfigError when Python finds no such package.

    The wheel has no `jobs`, because jobs are submitted from the project's directory.
    """
    found = find_spec("jobs")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            "The package jobs/ is not found, with which models are fine-tuned. Start the service in the project's "
            "directory, or install the project with pip install -e."
        )
    return Path(next(iter(found.submodule_search_locations))).resolve().parent
