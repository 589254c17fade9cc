"""Says what a path that does not exist may mean: a slip of the shell, of the keyboard, or another system's path."""

import difflib
import os
import re

BRACES = re.compile(r"\{[^{}]*,[^{}]*\}")
MAX_NAMES = 10_000


def suggest_path(path: str) -> str:
    """Return what to do about an absolute local path that does not exist, as a sentence."""
    meant = [each for each in _list_readings(path) if os.path.exists(each)]
    if meant:
        return f"Did you mean {meant[0]!r}?"
    if BRACES.search(path):
        return "Braces are not read: use a glob, as in *.csv or [ab].csv, or describe several sources."
    if any(os.path.isfile(path.split(mark)[0]) for mark in ", ;"):
        return "One path or one glob is read. Use a glob, or describe several sources in a file for --config."
    return _suggest_neighbour(path)


def _list_readings(path: str) -> list[str]:
    """Return other ways to read a path: without quotes or blanks around it, with variables, with slashes."""
    directory, name = os.path.split(path)
    parts = path.split("/")
    start = next((index for index, part in enumerate(parts) if part[:1] in ("'", '"')), None)
    unquoted = "/".join([*parts[:start], "/".join(parts[start:]).strip("'\"")]) if start is not None else path
    start = next((index for index, part in enumerate(parts) if part[:1] in ("$", "~")), None)
    expanded = os.path.expandvars(os.path.expanduser("/".join(parts[start:]))) if start is not None else path
    return [os.path.join(directory, name.strip()), unquoted, expanded, path.replace("\\", "/")]


def _suggest_neighbour(path: str) -> str:
    """Return the name beside a path that is most like it, on the first level of directories that does not exist."""
    parts = path.split("/")
    depth = next(depth for depth in range(1, len(parts) + 1) if not os.path.exists("/".join(parts[:depth]) or "/"))
    directory, missing = "/".join(parts[: depth - 1]) or "/", parts[depth - 1]
    try:
        names = {name.casefold(): name for name in os.listdir(directory)[:MAX_NAMES]}
    except OSError:
        names = {}
    close = difflib.get_close_matches(missing.casefold(), list(names), n=1, cutoff=0.75)
    if not close:
        return "Correct its path."
    found = os.path.join(directory, names[close[0]], *parts[depth:])
    return (
        f"Did you mean {found!r}?"
        if os.path.exists(found)
        else f"There is {os.path.join(directory, names[close[0]])!r}"
    )
