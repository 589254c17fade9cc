"""Reads the section of a stage from a TOML file, and the flags that override it; knows no keys of a stage."""

import csv
import difflib
import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from sentiment_ray import log
from sentiment_ray.errors import ConfigError

SECTIONS = ("prepare", "train", "tune", "export", "evaluate", "score", "serve", "openai_api")


def _split_commas(value: Any) -> Any:
    """Return the names in a flag's value. Double quotes enclose a name that has a comma, as in a CSV file."""
    if not isinstance(value, str):
        return value
    parts = value.split(",")
    if any(part.lstrip().startswith('"') for part in parts):
        try:
            (parts,) = csv.reader([value], skipinitialspace=True, strict=True)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"the double quotes do not enclose whole names ({error})") from None
    names = [part.strip() for part in parts]
    if len(names) > 1 and "" in names:
        raise ValueError("a name between the commas is empty")
    return [name for name in names if name]


TYPE_IN_PATH = re.compile(r"(literal|dict|tuple|list|constrained|function|nullable)\W.*|int|float|str|bool|none")
"""A part of an error's path that is no key: the member of a union that pydantic tried."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, from 0 to 1."""
Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
"""Several names: a TOML array, or one flag with commas between them. A name with a comma is in double quotes there."""


def is_unset(value: Any) -> bool:
    """Whether a value is None, False or empty: `Field(exclude_if=is_unset)` leaves such a value out of a dump.

    A key that a release adds is declared so. The fingerprints of results without it then stay as they were.
    """
    return value is None or value is False or value in ((), "", {})


@dataclass(frozen=True)
class ValueOfBareFlag:
    """Metadata of a key whose flag may be given without a value: the value that the key then has."""

    value: str


class SectionConfig(BaseModel):
    """The base class of every section: its values are frozen, and unknown keys are refused.

    The text below a key is its description in `--help`. `renamed` maps the old name of a key to its new one. Files and
    flags may use the old name for one more release; then a warning is shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: Any) -> Any:
        return rename_old_keys(cls, values) if isinstance(values, Mapping) else values


class StageConfig(SectionConfig):
    """The base class of a stage that writes one directory."""

    output: str
    """Directory that the stage writes."""
    restart: bool = False
    """Replace an output that was made from another input or configuration."""


Config = TypeVar("Config", bound=SectionConfig)


def load_config(model: type[Config], section: str, *, file: str | None, flags: Mapping[str, Any]) -> Config:
    """Return a section's configuration from `[section]` of a TOML file, overridden by `flags`.

    ConfigError names the file, the key, its value and, for an unknown key, the known key with the nearest spelling.
    """
    flags = rename_old_keys(model, flags)
    values = rename_old_keys(model, _read_section(file, section)) | flags if file else flags
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = _select_error(error.errors())
        first["loc"] = _drop_unwritten_keys(first["loc"], values)
        source = f"{file} [{section}]" if file and not flags.keys() & first["loc"] else "The command line"
        raise ConfigError(f"{source}: {_explain(model, first, section)}") from None


def rename_old_keys(model: type[SectionConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with the new name of each renamed key of `model`, and warn once of each old name.

    ConfigError when a key is given under both names.
    """
    for old in values.keys() & model.renamed.keys():
        new = model.renamed[old]
        if new in values:
            raise ConfigError(f"{old!r} is the old name of {new!r} and both are given. Keep {new!r} alone.")
        _warn_renamed(old, new)
    return {model.renamed.get(name, name): value for name, value in values.items()}


@cache
def _warn_renamed(old: str, new: str) -> None:
    log.notify(f"{old!r} is now called {new!r}. The next release no longer knows the old name.", level=logging.WARNING)


def read_toml(file: str) -> dict[str, dict[str, Any]]:
    """Read a configuration file; ConfigError when it is missing, is not TOML, or has an unknown section."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise _refuse_utf16(file)
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"--config {file}: there is no such file. See jobs/configs/ for examples.") from None
    except UnicodeDecodeError as error:
        if b"\0" in error.object:
            raise _refuse_utf16(file) from None
        raise ConfigError(f"--config {file}: this is not UTF-8 (byte {error.start}). Save the file as UTF-8.") from None
    except RecursionError:
        raise ConfigError(f"--config {file}: its values are nested too deeply.") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--config {file}: this is not a readable TOML file ({error}).") from None
    for name, value in document.items():
        if name not in SECTIONS:
            raise ConfigError(f"{file}: unknown section [{name}].{suggest(name, SECTIONS)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{file}: {name} has a value, but it is a section. Write [{name}] above its keys.")
    return document


def _refuse_utf16(file: str) -> ConfigError:
    return ConfigError(f"--config {file}: this is UTF-16, as PowerShell and Notepad may write it. Save it as UTF-8.")


def suggest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return a sentence with the known name that is spelt most like an unknown one, or with all known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known))}."


def _read_section(file: str, section: str) -> dict[str, Any]:
    document = read_toml(file)
    if section not in document:
        raise ConfigError(f"{file}: the section [{section}] is missing (found: {', '.join(document) or 'none'}).")
    return dict(document[section])


def _select_error(errors: list[ErrorDetails]) -> ErrorDetails:
    """Return the error to show: of those about the first wrong key, the one with the longest path.

    A key with a union of types has one error for each type; the longest path belongs to the type that fits best.
    """
    same_key = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    longest = max(same_key, key=lambda error: len(error["loc"]))
    return {**longest, "loc": tuple(part for part in longest["loc"] if not TYPE_IN_PATH.fullmatch(str(part)))}


def _drop_unwritten_keys(path: tuple[str | int, ...], values: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return the path of an error from the first key that the user wrote: a model may have put it below another."""
    start = next((index for index, part in enumerate(path) if part in values), 0)
    return path[start:]


def _explain(model: type[BaseModel], error: ErrorDetails, section: str) -> str:
    """Turn an error of pydantic into a sentence that names the key."""
    *parents, name = error["loc"] or ("",)
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}.{suggest(str(name), _known_keys(model, parents))}"
    if error["type"] == "missing" and parents:
        return f"the key {str(name)!r} is missing in [{'.'.join(map(str, (section, *parents)))}] of the file."
    if error["type"] == "missing":
        return f"the key {key!r} is missing. Set it in the file or pass --{str(name).replace('_', '-')}."
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:
        return f"{message}."
    return f"{key} = {error['input']!r}: {message[:1].lower()}{message[1:]}."


def _known_keys(model: type[BaseModel], parents: list[str | int]) -> list[str]:
    """Return the keys of the model that the path of an error ends in; tables and lists of tables have models too."""
    for part in parents:
        if part in model.model_fields and isinstance(part, str):
            annotation = model.model_fields[part].annotation
            models = [kind for kind in getattr(annotation, "__args__", ()) if isinstance(kind, type)]
            model = next(
                kind for kind in (annotation, *models) if isinstance(kind, type) and issubclass(kind, BaseModel)
            )
    return list(model.model_fields)
