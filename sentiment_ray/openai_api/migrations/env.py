"""Alembic runs this module for each of its commands; the connection is one that the caller has opened."""

from alembic import context

from sentiment_ray.openai_api.tables import Table

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
