"""Alembic's entry: runs the revisions on the connection that `migrate` hands over."""

from alembic import context

from poller.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters tables by copying them
    render_as_batch=True,
)
context.run_migrations()
