"""Finds the releases that make an artefact, for its manifest."""

import platform
from importlib.metadata import PackageNotFoundError, version


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, sentiment-ray and the installed ones of `packages`, by name."""
    versions = {"python": platform.python_version()}
    for package in ("sentiment-ray", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
