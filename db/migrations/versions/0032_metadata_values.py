"""The values in the metadata of runs, as an index that PostgreSQL lacks: by existence, ranges of numbers and prefixes.

From the commit of this migration on, triggers keep the values of runs that any process changes. It only adds
empty tables and the triggers, for which it waits for writers once; maintenance adds the values of earlier runs.

SQLite has the table of terms (`run_term`).

Revision ID: 0032
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

_WORD_LENGTH = 60
"""Number of characters that are kept of a string: see `db.sql.metadata_values`."""
_SMALLEST, _LARGEST = "5e-324", "1.797e308"
"""JSON has numbers that a double cannot hold; to cast them would fail."""

_VALUES = f"""
    hashtextextended(prefix || each.key, seed),
    CASE
        WHEN jsonb_typeof(each.value) <> 'number' THEN 'NaN'
        WHEN abs(each.value::numeric) BETWEEN {_SMALLEST} AND {_LARGEST} THEN each.value::double precision
        WHEN abs(each.value::numeric) < 1 THEN 0
        ELSE sign(each.value::numeric) * {_LARGEST}
    END,
    CASE WHEN jsonb_typeof(each.value) = 'string' THEN left(each.value #>> '{{}}', {_WORD_LENGTH}) ELSE '' END
"""
_SOURCE = "jsonb_each(document) AS each WHERE jsonb_typeof(each.value) <> 'null'"
# Objects within the document are walked by further calls, since a recursive query would cost every run milliseconds.
_WRITE = f"""
    CREATE FUNCTION run_metadata_write(run uuid, seed bigint, prefix text, document jsonb, adding boolean)
    RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        inner_key text;
        inner_value jsonb;
    BEGIN
        IF adding THEN
            INSERT INTO run_metadata (key, number, word, run_id) SELECT {_VALUES}, run FROM {_SOURCE};
        ELSE
            DELETE FROM run_metadata USING (SELECT {_VALUES} FROM {_SOURCE}) AS old (key, number, word)
            WHERE run_metadata.key = old.key AND run_metadata.number = old.number AND run_metadata.word = old.word
                AND run_metadata.run_id = run;
        END IF;
        IF document @? 'strict $.* ? (@.type() == "object")' THEN
            FOR inner_key, inner_value IN
                SELECT each.key, each.value FROM jsonb_each(document) AS each WHERE jsonb_typeof(each.value) = 'object'
            LOOP
                PERFORM run_metadata_write(run, seed, prefix || inner_key || chr(31), inner_value, adding);
            END LOOP;
        END IF;
    END $$
"""  # noqa: S608
_KEEP = """
    CREATE FUNCTION run_metadata_keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            PERFORM run_metadata_write(OLD.id, uuid_hash_extended(OLD.project_id, 0), '', OLD.metadata, false);
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM run_metadata_write(NEW.id, uuid_hash_extended(NEW.project_id, 0), '', NEW.metadata, true);
        END IF;
        RETURN NULL;
    END $$
"""
_TRIGGERS = {
    "insert": "INSERT ON flow_run FOR EACH ROW WHEN (NEW.metadata <> '{}')",
    "update": "UPDATE OF metadata ON flow_run FOR EACH ROW WHEN (NEW.metadata <> OLD.metadata)",
    "delete": "DELETE ON flow_run FOR EACH ROW WHEN (OLD.metadata <> '{}')",
}
_START_FILL = """
    INSERT INTO run_metadata_fill (last) SELECT (SELECT id FROM flow_run ORDER BY id DESC LIMIT 1)
"""


def upgrade() -> None:
    """Create the tables and the triggers."""
    if op.get_bind().dialect.name == "sqlite":
        return
    op.create_table(
        "run_metadata",
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Double(), nullable=False),
        sa.Column("word", sa.Text(collation="C"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
    )
    op.create_index("ix_run_metadata_value", "run_metadata", ["key", "number", "word", "run_id"])
    op.create_table(
        "run_metadata_fill",
        sa.Column("position", sa.Uuid()),
        sa.Column("last", sa.Uuid()),
    )
    op.execute(_WRITE)
    op.execute(_KEEP)
    for name, event in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER run_metadata_{name} AFTER {event} EXECUTE FUNCTION run_metadata_keep()")
    # After the triggers: from here on nobody writes a run that they do not see.
    op.execute(_START_FILL)
