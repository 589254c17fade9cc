"""Makes the flags of a command from the keys of a section; knows no stage and reads no file."""

from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from sentiment_ray import log
from sentiment_ray.config.sections import SectionConfig, ValueOfBareFlag


def make_flags(section: str, model: type[SectionConfig], *, without: tuple[str, ...] = ()) -> list[click.Parameter]:
    """Return `--config`, `--verbose` and one flag for each simple key of a section.

    A flag's help is the key's own description. The old name of a key is a flag that the help does not show.
    """
    config = click.Option(["--config"], metavar="FILE", help=f"TOML file; its section [{section}] is read.")
    keys = {name: field for name, field in model.model_fields.items() if name not in without and _is_simple(field)}
    flags = [_make_flag(name, field) for name, field in keys.items()]
    old_names = [_make_flag(old, keys[new], hidden=True) for old, new in model.renamed.items() if new in keys]
    return [config, *flags, *old_names, make_verbose_flag(section)]


def make_verbose_flag(stage: str) -> click.Option:
    """Return `-v`, which starts the log of the run before the command runs."""

    def start(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            log.start_log(stage)

    return click.Option(
        ["-v", "--verbose"], is_flag=True, is_eager=True, expose_value=False, callback=start,
        help="Log what is done as JSON lines on stderr.",
    )  # fmt: skip


def add_verbose_flag(stage: str) -> Callable[[click.Command], click.Command]:
    """Return a decorator that gives a command the flag `-v`."""

    def add(command: click.Command) -> click.Command:
        command.params.append(make_verbose_flag(stage))
        return command

    return add


def _make_flag(name: str, field: FieldInfo, *, hidden: bool = False) -> click.Option:
    flag = "--" + name.replace("_", "-")
    default = None if field.is_required() or field.default in (None, ()) else field.default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    text = " ".join((field.description or "").split())
    if shown is not None and not isinstance(shown, bool):
        text = f"{text} [{shown}]"
    if _list_types(field) - {type(None)} == {bool}:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text, hidden=hidden)
    bare = next((each.value for each in field.metadata if isinstance(each, ValueOfBareFlag)), None)
    if bare is not None:
        return click.Option([flag], is_flag=False, flag_value=bare, help=text, metavar="[TEXT]", hidden=hidden)
    return click.Option([flag], help=text, metavar=_describe_value(field), hidden=hidden)


def _describe_value(field: FieldInfo) -> str:
    """Return what the help shows for the value: its choices if there are a few, otherwise its kind."""
    types = _list_types(field)
    choices = [str(choice) for kind in types if get_origin(kind) is Literal for choice in get_args(kind)]
    return "|".join(choices) or ("NUMBER" if types & {int, float} else "TEXT")


def _is_simple(field: FieldInfo) -> bool:
    """Whether a key can be given as one flag: a number, a text, a switch, or several of them between commas.

    A key that takes a choice or a table is a flag for its choices; the table is for files.
    """
    simple = {str, int, float, bool, type(None), tuple[str, ...], tuple[float, ...], tuple[int, int]}
    types = _list_types(field)
    is_choice = any(get_origin(kind) is Literal for kind in types)
    return all(
        kind in simple or get_origin(kind) is Literal or (is_choice and get_origin(kind) is dict) for kind in types
    )


def _list_types(field: FieldInfo) -> set[Any]:
    """Return the types that a key accepts: the members of a union, without the limits that Annotated adds."""
    annotation = field.annotation
    types = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return {_strip_limits(kind) for kind in types}


def _strip_limits(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _strip_limits(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return tuple.__class_getitem__(tuple(_strip_limits(part) for part in get_args(kind)))
    return kind
