"""Which releases made an artefact; knows nothing of what they did."""

import platform
from importlib.metadata import PackageNotFoundError, version


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, sentiment-ray and those of `packages` that are installed, by name."""
    found = {"python": platform.python_version()}
    for package in ("sentiment-ray", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
