"""`metadata` of jobs and batches: checked when it is given, and what a list is filtered by."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
"""Texts by name."""
FILTER = re.compile(r"metadata\[(.+)\]", re.DOTALL)


def read_filter(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what the parameters of a query ask for, as in metadata[team]=news."""
    found = ((FILTER.fullmatch(name), value) for name, value in parameters)
    return {match[1]: value for match, value in found if match}


def matches(metadata: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    """Whether metadata has all that is asked for."""
    return all((metadata or {}).get(name) == value for name, value in wanted.items())
