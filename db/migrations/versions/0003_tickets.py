"""PGQueuer's tables, on PostgreSQL alone: its job table holds the tickets of due runs.

They are unlogged: a ticket lost in a crash of the server is written anew from the run table. PGQueuer's trigger is left
out. It would notify within each writing transaction, which serializes their commits; we tell the workers afterwards. So
are three indexes that its own way of taking jobs needs, and ours does not.

Revision ID: 0003
"""

from typing import Any

from alembic import op
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.domain.settings import DBSettings, Durability

revision = "0003"
down_revision = "0002"

_UNUSED = ("pgqueuer_ep_ea_idx", "pgqueuer_ep_prio_id_idx", "pgqueuer_priority_id_id1_idx")
_SETTINGS = DBSettings(prefix="", durability=Durability.volatile)


def upgrade() -> None:
    """Install the tables as PGQueuer declares them, and an index in the order in which they are taken."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return
    queries = QueryBuilderEnvironment(_SETTINGS)
    driver: Any = connection.connection.dbapi_connection
    # Many statements at once, which the driver takes without parameters alone.
    for script in (queries.build_install_query(create_schema=False), queries.build_optimize_autovacuum_query()):
        driver.run_async(lambda raw, script=script: raw.execute(script))
    op.execute(f"DROP TRIGGER {_SETTINGS.trigger} ON pgqueuer")
    op.execute(f"DROP INDEX {', '.join(_UNUSED)}")
    op.execute("CREATE INDEX ix_ticket_order ON pgqueuer (priority, execute_after, id) WHERE status = 'queued'")
