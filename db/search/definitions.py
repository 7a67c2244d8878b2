"""The statements that make and drop the search: a table of texts, its index, and the triggers that keep it.

`run_text` has a row for each input, output and log message, folded (`domain.text.searched_json`, `fold`). Triggers
write it in the transactions of the changes, so no way of writing is missed, and what is purged is gone from it. On
SQLite they call functions of the service; PostgreSQL has a table of the letters that folding changes.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

TEXTS = "run_text"
INDEX = "run_text_index"
FILL = "run_text_fill"
FOLDING = "run_text_folding"

_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Source:
    """A column whose texts are searched."""

    kind: int
    """Its number in `run_text`; never changes."""
    table: str
    column: str
    run_id: str
    position: str
    """Names a row among those of its run."""
    function: str

    def text(self, row: str) -> str:
        """Returns the expression of the text that is searched."""
        return f"{self.function}({row}.{self.column})"


SOURCES = (
    Source(0, "flow_run", "input", "id", "0", "search_json"),
    Source(1, "flow_run", "output", "id", "0", "search_json"),
    Source(2, "step_result", "input", "run_id", "position", "search_json"),
    Source(3, "step_result", "output", "run_id", "position", "search_json"),
    Source(4, "run_log", "message", "run_id", "number", "search_fold"),
)
SOURCE_TABLES = tuple(dict.fromkeys(source.table for source in SOURCES))
BLANK = "('{}', 'null', '')"
"""Values without a text."""

_COLUMNS = f"{TEXTS} (run_id, kind, position, text)"
_UPSERT = "ON CONFLICT (run_id, kind, position) DO UPDATE SET text = excluded.text"


def _place(source: Source, row: str) -> str:
    position = source.position if source.position == "0" else f"{row}.{source.position}"
    return f"{row}.{source.run_id}, {source.kind}, {position}"


def _insert(source: Source) -> str:
    return (
        f"INSERT INTO {_COLUMNS} SELECT {_place(source, 'NEW')}, {source.text('NEW')}"
        f" WHERE NEW.{source.column} NOT IN {BLANK} {_UPSERT};"
    )


def _delete(source: Source) -> str:
    run_id, kind, position = _place(source, "OLD").split(", ")
    return f"DELETE FROM {TEXTS} WHERE run_id = {run_id} AND kind = {kind} AND position = {position};"  # noqa: S608


def insert_of_runs(source: Source) -> str:
    """Returns the statement that adds the texts of a column, of the runs between two IDs, that are not there yet."""
    return (
        f"INSERT INTO {_COLUMNS} SELECT {_place(source, 's')}, {source.text('s')} FROM {source.table} AS s"  # noqa: S608
        f" WHERE s.{source.run_id} > :after AND s.{source.run_id} <= :until AND s.{source.column} NOT IN {BLANK}"
        " ON CONFLICT (run_id, kind, position) DO NOTHING"
    )


def _updates(source: Source) -> str:
    return f"{_delete(source)} {_insert(source)}"


# SQLite

_SQLITE_TABLES = (
    f"CREATE TABLE {FILL} (position CHAR(32), is_complete INTEGER NOT NULL, has_forgotten INTEGER NOT NULL DEFAULT 0)",
    # A key of its own: VACUUM numbers rows without one anew, and the index would point to others.
    f"""CREATE TABLE {TEXTS} (
        id INTEGER PRIMARY KEY, run_id CHAR(32) NOT NULL, kind INTEGER NOT NULL, position INTEGER NOT NULL,
        text TEXT NOT NULL, UNIQUE (run_id, kind, position)
    )""",
    f"""CREATE VIRTUAL TABLE {INDEX}
        USING fts5(text, content = '{TEXTS}', content_rowid = 'id', tokenize = 'trigram case_sensitive 1')""",
    f"""CREATE TRIGGER {TEXTS}_insert AFTER INSERT ON {TEXTS}
        BEGIN INSERT INTO {INDEX} (rowid, text) VALUES (NEW.id, NEW.text); END""",  # noqa: S608
    f"""CREATE TRIGGER {TEXTS}_delete AFTER DELETE ON {TEXTS}
        BEGIN INSERT INTO {INDEX} ({INDEX}, rowid, text) VALUES ('delete', OLD.id, OLD.text); END""",  # noqa: S608
    f"""CREATE TRIGGER {TEXTS}_update AFTER UPDATE OF text ON {TEXTS} BEGIN
        INSERT INTO {INDEX} ({INDEX}, rowid, text) VALUES ('delete', OLD.id, OLD.text);
        INSERT INTO {INDEX} (rowid, text) VALUES (NEW.id, NEW.text); END""",  # noqa: S608
)


def _sqlite_triggers() -> Iterator[tuple[str, str]]:
    for source in SOURCES:
        name = f"{TEXTS}_{source.table}_{source.column}"
        changed = f"OLD.{source.column} IS NOT NEW.{source.column}"
        yield (
            f"{name}_insert",
            f"AFTER INSERT ON {source.table} WHEN NEW.{source.column} IS NOT NULL BEGIN {_insert(source)} END",
        )
        yield (
            f"{name}_update",
            f"AFTER UPDATE OF {source.column} ON {source.table} WHEN {changed} BEGIN {_updates(source)} END",
        )
        yield f"{name}_delete", f"AFTER DELETE ON {source.table} BEGIN {_delete(source)} END"


# PostgreSQL

_POSTGRESQL_TABLES = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    f"CREATE TABLE {FILL} (position UUID, is_complete BOOLEAN NOT NULL)",
    f'CREATE TABLE {FOLDING} (letter TEXT COLLATE "C" PRIMARY KEY, folded TEXT NOT NULL)',
    f"""CREATE TABLE {TEXTS} (
        run_id UUID NOT NULL, kind SMALLINT NOT NULL, position INTEGER NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY (run_id, kind, position)
    )""",
    f"CREATE INDEX {INDEX} ON {TEXTS} USING gin (text gin_trgm_ops)",
    # The same as `domain.text.fold`: letters are replaced one by one, only those that the text has.
    f"""CREATE FUNCTION search_fold(source TEXT) RETURNS TEXT LANGUAGE plpgsql STABLE AS $$
        DECLARE
            result TEXT; replaced RECORD;
        BEGIN
            IF octet_length(source) = length(source) THEN RETURN lower(source COLLATE "C"); END IF;
            result := lower(normalize(source, NFC) COLLATE "C");
            FOR replaced IN
                SELECT f.letter, f.folded FROM {FOLDING} AS f JOIN (
                    SELECT DISTINCT each COLLATE "C" AS letter
                    FROM regexp_split_to_table(regexp_replace(result, '[[:ascii:]]+', '', 'g'), '') AS each
                ) AS letters ON letters.letter = f.letter
            LOOP
                result := replace(result, replaced.letter, replaced.folded);
            END LOOP;
            RETURN normalize(result, NFC);
        END $$""",  # noqa: S608
    # The same as `domain.text.searched_json`. No JSON text has the character 1, which stands for a backslash here.
    """CREATE FUNCTION search_json(source TEXT) RETURNS TEXT LANGUAGE plpgsql STABLE AS $$
        DECLARE
            result TEXT := source; code INTEGER;
        BEGIN
            IF position(E'\\\\' IN result) > 0 THEN
                result := replace(result, E'\\\\\\\\', E'\\x01');
                result := replace(replace(result, E'\\\\"', '"'), E'\\\\n', E'\\n');
                result := replace(replace(result, E'\\\\r', E'\\r'), E'\\\\t', E'\\t');
                result := replace(replace(result, E'\\\\b', E'\\b'), E'\\\\f', E'\\f');
                IF position(E'\\\\u' IN result) > 0 THEN
                    FOR code IN 2..31 LOOP
                        result := replace(result, E'\\\\u' || lpad(to_hex(code), 4, '0'), chr(code));
                    END LOOP;
                END IF;
                result := replace(result, E'\\x01', E'\\\\');
            END IF;
            RETURN search_fold(result);
        END $$""",
)


def _postgresql_triggers() -> Iterator[tuple[str, str]]:
    """Yields functions with their triggers: one for each table, whose columns are told apart within."""
    for table in SOURCE_TABLES:
        name = f"{TEXTS}_{table}"
        sources = [source for source in SOURCES if source.table == table]
        inserts = " ".join(
            f"IF NEW.{source.column} NOT IN {BLANK} THEN {_insert(source)} END IF;" for source in sources
        )
        updates = " ".join(
            f"IF NEW.{source.column} IS DISTINCT FROM OLD.{source.column} THEN"
            f" IF NEW.{source.column} IS NULL OR NEW.{source.column} IN {BLANK} THEN {_delete(source)}"
            f" ELSE {_insert(source)} END IF; END IF;"
            for source in sources
        )
        # A run goes as a whole.
        deletes = " ".join(map(_delete, sources))
        body = (
            f"IF TG_OP = 'INSERT' THEN {inserts} ELSIF TG_OP = 'UPDATE' THEN {updates} ELSE {deletes} END IF;"
            " RETURN NULL;"
        )
        columns = ", ".join(source.column for source in sources)
        yield (
            f"CREATE FUNCTION {name}() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
            f"CREATE TRIGGER {name} AFTER INSERT OR DELETE OR UPDATE OF {columns} ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION {name}()",
        )


def create(dialect: str) -> Iterator[str]:
    """Yields the statements that make the search; the table of letters is still empty."""
    if dialect == "sqlite":
        yield from _SQLITE_TABLES
        for name, rest in _sqlite_triggers():
            yield f"CREATE TRIGGER {name} {rest}"
    else:
        yield from _POSTGRESQL_TABLES
        for function, trigger in _postgresql_triggers():
            yield function
            yield trigger


def drop(dialect: str) -> Iterator[str]:
    """Yields the statements that drop all of it."""
    if dialect == "sqlite":
        for name, _ in _sqlite_triggers():
            yield f"DROP TRIGGER {name}"
        for table in (INDEX, TEXTS, FILL):
            yield f"DROP TABLE {table}"
        return
    for table in SOURCE_TABLES:
        yield f"DROP FUNCTION {TEXTS}_{table}() CASCADE"
    yield "DROP FUNCTION search_json(TEXT), search_fold(TEXT)"
    yield f"DROP TABLE {TEXTS}, {FILL}, {FOLDING}"


def folded_letters() -> Iterator[tuple[str, str]]:
    """Yields the letters beside A to Z that folding changes, each with what becomes of it."""
    for code in range(128, sys.maxunicode + 1):
        if code not in _SURROGATES and (folded := (letter := chr(code)).casefold()) != letter:
            yield letter, folded
