"""Globs: * ? and [ ] match within a name, ** matches any directories, and every name matches itself. Opens no file."""

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase

ANY_DIRECTORIES = "**"


def has_wildcard(path: str) -> bool:
    """Whether a path may be a glob."""
    return glob.has_magic(path)


def matches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a path matches a glob, both given as the names between their slashes."""
    if not pattern:
        return not names
    if pattern[0] != ANY_DIRECTORIES:
        return bool(names) and _matches_name(pattern[0], names[0]) and matches(pattern[1:], names[1:])
    if len(pattern) == 1:
        return bool(names)
    return any(matches(pattern[1:], names[start:]) for start in range(len(names)))


def may_lead_to_match(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a path below the directory with these names may match a glob."""
    if not names or (pattern and pattern[0] == ANY_DIRECTORIES):
        return True
    return len(pattern) > 1 and _matches_name(pattern[0], names[0]) and may_lead_to_match(pattern[1:], names[1:])


def names_hidden(pattern: Sequence[str], name: str) -> bool:
    """Whether a glob names a file or directory that is otherwise hidden, because it begins with _ or a dot."""
    return any(part.startswith(("_", ".")) and _matches_name(part, name) for part in pattern)


def _matches_name(pattern: str, name: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
