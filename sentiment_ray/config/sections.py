"""Reads a stage's section of a TOML file and the flags that override it; knows no stage by name."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import click
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from sentiment_ray.errors import ConfigError

SECTIONS = ("prepare", "train", "tune", "export", "evaluate", "score", "serve")


def _split_commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


KIND = re.compile(r"(literal|dict|tuple|list|constrained|function|nullable)\W.*|int|float|str|bool|none")
"""How pydantic names, on the way to what is wrong, which kind of value it took a key's to be."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, from 0 to 1."""
Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
"""Several names: a TOML array, or one flag with commas between them."""


class SectionConfig(BaseModel):
    """The base of every section's keys: frozen, and strict about unknown ones.

    The text below a key is its description in `--help`. A key that was renamed stands in `renamed`, the old name first:
    for one release the old name is still read, in files and as a flag, with a warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, values: Any) -> Any:
        return rename_old_keys(cls, values) if isinstance(values, Mapping) else values


class StageConfig(SectionConfig):
    """The base of a stage's keys: every stage writes one directory."""

    output: str
    """Directory that the stage writes."""
    restart: bool = False
    """Replace an output that was made from another input or configuration."""


Config = TypeVar("Config", bound=SectionConfig)


def load_config(model: type[Config], section: str, *, file: str | None, flags: Mapping[str, Any]) -> Config:
    """Return a section's configuration from `[section]` of a TOML file, overridden by `flags`.

    ConfigError names the file, the key, what was found and, for an unknown key, the nearest known one.
    """
    flags = rename_old_keys(model, flags)
    values = rename_old_keys(model, _read_section(file, section)) | flags if file else flags
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = _nearest_branch(error.errors())
        where = f"{file} [{section}]" if file and not flags.keys() & wrong["loc"] else "The command line"
        raise ConfigError(f"{where}: {_explain(model, wrong, section)}") from None


def rename_old_keys(model: type[SectionConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with the current name of each renamed key of `model`; every old name is warned about once.

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
    click.echo(f"warning: {old!r} is now called {new!r}. The next release no longer knows the old name.", err=True)


def read_toml(file: str) -> dict[str, dict[str, Any]]:
    """Read a configuration file; ConfigError when it is missing, no TOML, or holds an unknown section."""
    try:
        document = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"--config {file}: there is no such file. The examples stand in jobs/configs/.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--config {file}: this is not a TOML file that can be read ({error}).") from None
    for name, value in document.items():
        if name not in SECTIONS:
            raise ConfigError(f"{file}: unknown section [{name}].{nearest(name, SECTIONS)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{file}: {name} is a section, but a value was found. Write [{name}] above its keys.")
    return document


def nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return a sentence that proposes the known name nearest to a misspelt one."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known))}."


def _read_section(file: str, section: str) -> dict[str, Any]:
    document = read_toml(file)
    if section not in document:
        raise ConfigError(f"{file}: the section [{section}] is missing (found: {', '.join(document) or 'none'}).")
    return dict(document[section])


def _nearest_branch(errors: list[ErrorDetails]) -> ErrorDetails:
    """Return the first complaint; of those about one key that may be of several kinds, that which looked deepest."""
    about = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    deepest = max(about, key=lambda error: len(error["loc"]))
    return {**deepest, "loc": tuple(part for part in deepest["loc"] if not KIND.fullmatch(str(part)))}


def _explain(model: type[BaseModel], error: ErrorDetails, section: str) -> str:
    """Turn one of pydantic's complaints into a sentence that names the key."""
    *parents, name = error["loc"] or ("",)
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}.{nearest(str(name), _known_keys(model, parents))}"
    if error["type"] == "missing" and parents:
        return f"the key {str(name)!r} is missing in [{'.'.join(map(str, (section, *parents)))}] of the file."
    if error["type"] == "missing":
        return f"the key {key!r} is missing. Set it in the file or pass --{str(name).replace('_', '-')}."
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:
        return f"{message}."
    return f"{key} = {error['input']!r}: {message[:1].lower()}{message[1:]}."


def _known_keys(model: type[BaseModel], parents: list[str | int]) -> list[str]:
    """Return the keys of the model that an error's path leads to, through tuples and tables of models."""
    for part in parents:
        if part in model.model_fields and isinstance(part, str):
            annotation = model.model_fields[part].annotation
            models = [kind for kind in getattr(annotation, "__args__", ()) if isinstance(kind, type)]
            model = next(
                kind for kind in (annotation, *models) if isinstance(kind, type) and issubclass(kind, BaseModel)
            )
    return list(model.model_fields)
