"""What PostgreSQL's planner says about a query."""

from typing import Any, NamedTuple

import orjson
from sqlalchemy import ClauseElement, Connection, Executable, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class QueryPlan(NamedTuple):
    """The plan of a query for the first rows of an order."""

    walks: bool
    """True if an index is read in the order, until there are enough rows; False if all matching rows are sorted."""
    cost: float
    """Cost of the rows before they are sorted or limited, in the planner's units: 1 is a page that is read in turn."""


_ABOVE_ROWS = {"Limit", "Sort", "Incremental Sort", "Gather", "Gather Merge"}
"""Nodes of a plan that order or limit the rows of the node below."""


class _Explain(Executable, ClauseElement):
    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(_Explain)
def _explain(element: _Explain, compiler: SQLCompiler, **kw: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.query, **kw)}"


def of(conn: Connection, query: Select[Any]) -> QueryPlan:
    """Returns PostgreSQL's plan of `query`, which is not executed."""
    answer = conn.execute(_Explain(query)).scalar_one()
    (explained,) = orjson.loads(answer) if isinstance(answer, str) else answer
    node, walks = explained["Plan"], True
    while node["Node Type"] in _ABOVE_ROWS:
        walks = walks and node["Node Type"] != "Sort"
        node = node["Plans"][0]
    return QueryPlan(walks, node["Total Cost"])
