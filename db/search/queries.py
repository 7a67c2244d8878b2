"""Queries of the texts of runs: by the index of texts, or run by run."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import ARRAY, ColumnElement, Select, Text, Uuid, bindparam, column, func, literal_column, select
from sqlalchemy import table as sql_table

from db.models import FlowRun
from db.models.types import HasText, Tags, table
from db.search.definitions import INDEX, TEXTS
from domain.text import fold

_run = table(FlowRun).c
_texts = sql_table(TEXTS, column("id"), column("run_id", Uuid()), column("text", Text()))
RUN_ID = _texts.c.run_id
"""The column with the run that a text belongs to."""
_index = sql_table(INDEX, column("rowid"))


def runs_with(text: str, dialect: str) -> Select[Any]:
    """Returns the query of the runs with a text that contains `text`, by the index of texts; some several times."""
    query = select(RUN_ID)
    if dialect == "sqlite":
        # Joined, so that a limit ends the search: a list of all rows of the index would be made as a whole.
        phrase = bindparam(None, phrase_of(fold(text)), Text, unique=True)
        return query.where(_texts.c.id == _index.c.rowid, literal_column(INDEX).op("MATCH")(phrase))
    return query.where(_texts.c.text.contains(fold(text), autoescape=True))


def is_of_run(text: str) -> ColumnElement[bool]:
    """Returns the condition of a run one of whose texts contains `text`: asked run by run, so by no index of texts."""
    found = HasText(_texts.c.text, bindparam(None, fold(text), Text, unique=True))
    # By its name: in a condition that becomes text by itself there is no SELECT to correlate with.
    of_run = literal_column("flow_run.id") == RUN_ID
    # With the offset, PostgreSQL neither joins all texts to the runs nor makes a table of those that contain the text.
    return select(literal_column("1")).select_from(_texts).where(of_run, found).offset(0).exists()


def found_of_run(folded: Sequence[str], dialect: str) -> ColumnElement[Any]:
    """Returns the column of those of `folded`, folded texts, that texts of the run contain, as a list."""
    is_sqlite = dialect == "sqlite"
    if is_sqlite:
        each = func.json_each(bindparam(None, orjson.dumps(list(folded)).decode(), Text, unique=True))
    else:
        each = func.unnest(bindparam(None, list(folded), ARRAY(Text()), unique=True))
    searched = each.table_valued("value") if is_sqlite else each.table_valued("value").render_derived()
    has_it = HasText(_texts.c.text, searched.c.value)
    is_found = select(literal_column("1")).select_from(_texts).where(_run.id == RUN_ID, has_it).exists()
    value = searched.c.value
    gathered = func.json_group_array(value, type_=Tags()) if is_sqlite else func.array_agg(value, type_=Tags())
    return select(gathered).select_from(searched).where(is_found.correlate_except(_texts)).scalar_subquery()


def phrase_of(part: str) -> str:
    """Returns the query of FTS5 for texts that contain `part`, a folded text."""
    escaped = part.replace('"', '""')
    return f'"{escaped}"'
