"""Queries of the texts of runs: by the index of texts, or run by run."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import ARRAY, ColumnElement, Text, Uuid, bindparam, column, func, literal_column, select
from sqlalchemy import table as sql_table

from db.models import FlowRun
from db.models.types import HasText, Tags, table
from db.search.definitions import INDEX, TEXTS
from domain.text import fold

_run = table(FlowRun).c
_texts = sql_table(TEXTS, column("id"), column("run_id", Uuid()), column("text", Text()))
RUN_ID = _texts.c.run_id
"""The column with the run that a text belongs to."""
_index = sql_table(INDEX, column("rowid")).c


def is_indexed(text: str, dialect: str) -> ColumnElement[bool]:
    """Returns the condition of the texts of runs that contain `text`, by the index of texts."""
    if dialect == "sqlite":
        phrase = bindparam(None, phrase_of(fold(text)), Text, unique=True)
        return _texts.c.id.in_(select(_index.rowid).where(literal_column(INDEX).op("MATCH")(phrase)))
    return _texts.c.text.contains(fold(text), autoescape=True)


def is_of_run(text: str) -> ColumnElement[bool]:
    """Returns the condition of a run one of whose texts contains `text`: asked run by run, so by no index of texts."""
    found = HasText(_texts.c.text, bindparam(None, fold(text), Text, unique=True))
    # By its name: in a condition that becomes text by itself there is no SELECT to correlate with.
    of_run = literal_column("flow_run.id") == RUN_ID
    return select(literal_column("1")).select_from(_texts).where(of_run, found).exists()


def found_of_run(folded: Sequence[str], dialect: str) -> ColumnElement[Any]:
    """Returns the column of those of `folded`, folded texts, that texts of the run contain, as a list."""
    if dialect == "sqlite":
        each = func.json_each(bindparam(None, orjson.dumps(list(folded)).decode(), Text, unique=True))
        searched, gather = each.table_valued("value"), func.json_group_array
    else:
        each = func.unnest(bindparam(None, list(folded), ARRAY(Text()), unique=True))
        searched, gather = each.table_valued("value"), func.array_agg
    has_it = HasText(_texts.c.text, searched.c.value)
    is_found = select(literal_column("1")).select_from(_texts).where(_run.id == RUN_ID, has_it).exists()
    found = (
        select(gather(searched.c.value, type_=Tags())).select_from(searched).where(is_found.correlate_except(_texts))
    )
    return found.scalar_subquery()


def phrase_of(part: str) -> str:
    """Returns the query of FTS5 for texts that contain `part`, a folded text."""
    escaped = part.replace('"', '""')
    return f'"{escaped}"'
