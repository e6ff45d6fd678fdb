"""Alembic's entry: runs the revisions on the connection, and in the transaction, that `workbench.study.store.database` gives."""

from alembic import context

from workbench.study.store.schema import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
