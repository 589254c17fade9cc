"""Brings the tables of a database up to date, whatever release made them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def make_config(connection: Connection) -> Config:
    """Return the configuration of Alembic's commands on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Do every step that a database has not seen, in the transaction of the connection."""
    command.upgrade(make_config(connection), "head")
