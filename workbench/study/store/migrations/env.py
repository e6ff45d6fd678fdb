"""Alembic's entry: runs the revisions on the connection and in the transaction given by
`workbench.study.store.database`.
"""

from alembic import context

from workbench.study.store.schema import SchemaBase

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SchemaBase.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
