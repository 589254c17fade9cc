"""The commands `sentiment-ray openai-api`; each loads what it needs when it runs."""

import sys
from typing import TYPE_CHECKING, Any

import click

from sentiment_ray.config import shell
from sentiment_ray.config.flags import add_verbose_flag, make_flags
from sentiment_ray.errors import ConfigError, require_extra
from sentiment_ray.openai_api.config import OpenAiApiConfig

if TYPE_CHECKING:
    from sentiment_ray.openai_api.database import Database

SECTION = "openai_api"
LIBRARIES = ("fastapi", "uvicorn", "uvloop", "httptools", "orjson", "sqlalchemy", "alembic", "streaming_form_data")
MAX_NAME_LETTERS = 64

config_option = click.option("--config", metavar="FILE", help=f"TOML file; its section [{SECTION}] is read.")
state_option = click.option("--state", metavar="DIRECTORY", help="The state directory of the service.")
database_option = click.option("--database", metavar="URL", help="The URL of the service's PostgreSQL database.")


@click.group("openai-api", epilog="\b\nExample:\n  sentiment-ray openai-api serve --state state --port 8000")
def openai_api_commands() -> None:
    """Fine-tune and ask models with the clients of the OpenAI API."""


def _serve(**given: Any) -> None:
    """Answer the OpenAI API over HTTP; without --host, requests of this machine alone."""
    require_extra(SECTION, *LIBRARIES)
    from sentiment_ray.openai_api.server import serve

    serve(shell.read_config(SECTION, OpenAiApiConfig, given))


openai_api_commands.add_command(
    click.Command(
        name="serve",
        callback=_serve,
        help=_serve.__doc__,
        params=make_flags(SECTION, OpenAiApiConfig),
        epilog="\b\nExample:\n  sentiment-ray openai-api serve --config openai_api.toml --state state --port 8000",
        context_settings={"max_content_width": 110},
    )
)


@openai_api_commands.group(epilog="\b\nExample:\n  sentiment-ray openai-api keys create --state state --project shop")
def keys() -> None:
    """Create and revoke API keys."""


@add_verbose_flag(SECTION)
@keys.command(epilog="\b\nExample:\n  sentiment-ray openai-api keys create --state state --project shop > key.txt")
@click.option("--project", required=True, help="The project that owns what the key creates; a new name makes one.")
@config_option
@state_option
@database_option
def create(project: str, **given: str | None) -> None:
    """Create a key of a project and print it: it is stored nowhere, so this is the only time that it is shown."""
    from sentiment_ray.openai_api.authentication import create_key

    if not project.strip() or not project.isprintable() or len(project) > MAX_NAME_LETTERS:
        raise ConfigError(f"--project {project!r}: give a name of 1 to {MAX_NAME_LETTERS} visible letters.")
    database = _open_database(given)
    try:
        click.echo(create_key(database, project))
    finally:
        database.close()


@add_verbose_flag(SECTION)
@keys.command(epilog="\b\nExample:\n  sentiment-ray openai-api keys revoke --state state < key.txt")
@click.argument("key", required=False)
@config_option
@state_option
@database_option
def revoke(key: str | None, **given: str | None) -> None:
    """Make KEY useless within a second; without KEY, the key in the first line of stdin."""
    from sentiment_ray.openai_api.authentication import revoke_key

    database = _open_database(given)
    try:
        if not revoke_key(database, (key or sys.stdin.readline()).strip()):
            raise ConfigError("There is no such key, or it was revoked before.")
    finally:
        database.close()


def _open_database(given: dict[str, str | None]) -> "Database":
    require_extra(SECTION, "sqlalchemy", "alembic")
    from sentiment_ray.openai_api.database import open_database
    from sentiment_ray.openai_api.state_directory import make_state_directory

    config = shell.read_config(SECTION, OpenAiApiConfig, given)
    return open_database(make_state_directory(config.state), config.database)
