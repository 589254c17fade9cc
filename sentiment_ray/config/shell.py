"""Runs a command: its configuration in, one JSON line out, an error as one line; knows no stage."""

import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from typing import Any, NoReturn

import click

from sentiment_ray import log
from sentiment_ray.config.flags import make_flags
from sentiment_ray.config.sections import Config, load_config
from sentiment_ray.errors import SentimentRayError
from sentiment_ray.manifest import format_json
from sentiment_ray.paths import find_disk_failure
from sentiment_ray.thread_waiting import let_waiting_threads_sleep

Result = Mapping[str, Any]
logger = logging.getLogger(__name__)


def stage_job(
    section: str, model: type[Config], *, example: str
) -> Callable[[Callable[[Config], Result]], click.Command]:
    """Turn a function of one section's configuration into a command with `--config` and a flag for every simple key.

    The function's docstring becomes the help. Its result is printed as one JSON line.
    """

    def decorate(function: Callable[[Config], Result]) -> click.Command:
        def callback(**given: Any) -> None:
            print_result(run_stage(lambda: function(read_config(section, model, given))))

        return click.Command(
            name=section,
            callback=callback,
            params=make_flags(section, model),
            help=function.__doc__,
            epilog=f"\b\nExample:\n  {example}",
            context_settings={"max_content_width": 110},
        )

    return decorate


def run_stage(stage: Callable[[], Result]) -> Result:
    """Run a stage, log its beginning and its end, and return its result.

    stdout is for the result alone, so what the stage prints goes to stderr: Ray reports every process that dies.
    """
    started = time.monotonic()
    logger.info("started")
    with redirect_stdout(sys.stderr):
        result = stage()
    logger.info("finished", extra={"seconds": round(time.monotonic() - started, 3), "result": result})
    return result


def read_config(section: str, model: type[Config], given: Mapping[str, Any]) -> Config:
    """Return the configuration that a command's parsed flags, `config` among them, describe."""
    flags = {name: value for name, value in given.items() if value is not None and name != "config"}
    return load_config(model, section, file=given.get("config"), flags=flags)


def print_result(result: Result) -> None:
    """Write the result of a command to stdout as one JSON line."""
    click.echo(format_json(result, ensure_ascii=False, default=str))


def run(command: click.Command) -> NoReturn:
    """Run a command and end the process: 0 for success, 2 for wrong input, 3 for a limit that was missed.

    Wrong input becomes one line on stderr, and so does a disk that is full or fails, with exit code 1. Any other
    exception keeps its traceback and ends the process with 1.
    """
    let_waiting_threads_sleep()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the terminal speaks
    try:
        command.main(standalone_mode=False)
        sys.stdout.flush()
        sys.stdout = sys.stderr  # libraries that print while the process ends must not add to the result
    except click.Abort:
        _fail("interrupted.", 130)
    except click.ClickException as error:
        _fail(_explain(error), 2)
    except SentimentRayError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(1)
    except Exception as error:
        failure = find_disk_failure(error)
        if failure is None:
            raise
        _discard_stdout()
        _fail(str(failure), failure.exit_code)
    sys.exit(0)


def _explain(error: click.ClickException) -> str:
    """Return what is wrong with the words of a command and, for the usual slips, how they are written."""
    message = error.format_message()
    if "unexpected extra argument" in message:
        return f"{message}. Flags begin with two hyphens. Several values stand between commas, and a glob in quotes."
    if isinstance(error, click.NoSuchOption) and not error.option_name.startswith("--"):
        return f"{message} Flags begin with two hyphens."
    return message


def _discard_stdout() -> None:
    """Send what is still to be written to stdout nowhere: Python writes it at its end, and would fail again."""
    with suppress(OSError, ValueError):  # a stdout that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, exit_code: int) -> NoReturn:
    """End the process with one line, in which names of files and keys cannot control the terminal.

    Line ends become blanks. Other runs of blanks stay: they may be part of a name.
    """
    line = " ".join(part.strip() for part in message.splitlines() if part.strip()).replace("\t", " ")
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    log.notify(plain, level=logging.ERROR)
    sys.exit(exit_code)
