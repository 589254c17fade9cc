"""The thin shell around every command: flags in, one JSON line out, errors as one line; knows no stage."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from sentiment_ray.config.sections import Config, load_config
from sentiment_ray.errors import SentimentRayError

Result = Mapping[str, Any]


def stage_job(
    section: str, model: type[Config], *, example: str
) -> Callable[[Callable[[Config], Result]], click.Command]:
    """Turn a function of one stage configuration into a command with `--config` and a flag for every simple key.

    The function's docstring becomes the help text; its result is printed as one JSON line.
    """

    def decorate(function: Callable[[Config], Result]) -> click.Command:
        def callback(**given: Any) -> None:
            with redirect_stdout(sys.stderr):  # Ray tells on stdout of every process that dies
                result = function(config_from(section, model, given))
            print_result(result)

        return click.Command(
            name=section,
            callback=callback,
            params=options_of(section, model),
            help=function.__doc__,
            epilog=f"\b\nExample:\n  {example}",
            context_settings={"max_content_width": 110},
        )

    return decorate


def options_of(section: str, model: type[Config], *, without: tuple[str, ...] = ()) -> list[click.Parameter]:
    """Return `--config` and one flag for each simple key of a section, described by the key's own text."""
    config_option = click.Option(["--config"], metavar="FILE", help=f"TOML file; its section [{section}] is read.")
    keys = {name: field for name, field in model.model_fields.items() if name not in without and _is_simple(field)}
    old_names = [_option(old, keys[new], hidden=True) for old, new in model.renamed.items() if new in keys]
    return [config_option, *(_option(name, field) for name, field in keys.items()), *old_names]


def config_from(section: str, model: type[Config], given: Mapping[str, Any]) -> Config:
    """Return the configuration that parsed flags, `config` among them, describe."""
    flags = {name: value for name, value in given.items() if value is not None and name != "config"}
    return load_config(model, section, file=given.get("config"), flags=flags)


def print_result(result: Result) -> None:
    """Write the result of a command to stdout as one JSON line."""
    click.echo(json.dumps(result, ensure_ascii=False, default=str))


def run(command: click.Command) -> NoReturn:
    """Run a command and end the process: 0 done, 2 the input is wrong, 3 a bound was missed.

    A wrong input becomes one line on stderr; any other exception keeps its traceback and ends with 1.
    """
    try:
        command.main(standalone_mode=False)
        sys.stdout.flush()
        sys.stdout = sys.stderr  # what libraries say when the process ends is no result
    except click.Abort:
        _fail("interrupted.", 130)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), 2)
    except SentimentRayError as error:
        _fail(" ".join(str(error).split()), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _fail(message: str, exit_code: int) -> NoReturn:
    """End the process with one line, in which names of files and keys cannot steer the terminal."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in message)
    click.echo(f"error: {plain}", err=True)
    sys.exit(exit_code)


def _option(name: str, field: FieldInfo, *, hidden: bool = False) -> click.Option:
    flag = "--" + name.replace("_", "-")
    default = None if field.is_required() or field.default in (None, ()) else field.default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    text = " ".join((field.description or "").split())
    if shown is not None and not isinstance(shown, bool):
        text = f"{text} [{shown}]"
    if _kinds(field) - {type(None)} == {bool}:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text, hidden=hidden)
    return click.Option([flag], help=text, metavar=_metavar(field), hidden=hidden)


def _metavar(field: FieldInfo) -> str:
    """Return what stands for the value in the help: its choices where it is one of a few, else its kind."""
    kinds = _kinds(field)
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return "|".join(choices) or ("NUMBER" if kinds & {int, float} else "TEXT")


def _is_simple(field: FieldInfo) -> bool:
    """Whether a key can be given as one flag: a number, a text, a switch, or several of them between commas.

    A key that is a choice or, in a file, a table is given as the choice.
    """
    simple = {str, int, float, bool, type(None), tuple[str, ...], tuple[float, ...], tuple[int, int]}
    kinds = _kinds(field)
    is_choice = any(get_origin(kind) is Literal for kind in kinds)
    return all(
        kind in simple or get_origin(kind) is Literal or (is_choice and get_origin(kind) is dict) for kind in kinds
    )


def _kinds(field: FieldInfo) -> set[Any]:
    """Return the types that a key accepts, without None's union and the bounds that Annotated adds."""
    annotation = field.annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return {_without_bounds(kind) for kind in kinds}


def _without_bounds(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _without_bounds(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return tuple.__class_getitem__(tuple(_without_bounds(part) for part in get_args(kind)))
    return kind
