"""Alembic's entry: runs on the connection that `db.migrate` hands over, never on one of its own."""

from alembic import context

from db.models import Base

connection = context.config.attributes["connection"]
schema = context.config.attributes["schema"]

context.configure(
    connection=connection.execution_options(schema_translate_map={"errander": schema}),
    target_metadata=Base.metadata,
    version_table_schema=schema,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
