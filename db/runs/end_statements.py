"""The statements by which workers end their runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Text, Update, bindparam, column, func, update
from sqlalchemy.types import TypeEngine

from db.models import FlowRun
from db.models.types import Latest, table

_runs = table(FlowRun)
_run = _runs.c

SUCCESS = ("output", "duration_ms")
"""Columns that are set when a run succeeds."""
RESULT = (*SUCCESS, "failed_step_name", "error_code", "error_message", "error_fingerprint")
"""Columns that are set when a run ends."""
NOW = bindparam("now", type_=_run.started_at.type)
END_TIME: ColumnElement[Any] = Latest(NOW, func.coalesce(_run.started_at, _run.created_at))
"""When a run ends. A clock that was set back must not let a run start before its creation, or end before its start:
filters of time read no run whose creation is beyond their bound."""


class EndStatement:
    """Ends runs, and sets some of their columns."""

    def __init__(self, columns: Sequence[str], sqlite_prefix: str) -> None:
        # SQLAlchemy reserves the plain names of the columns.
        self._new = {f"new_{name}": _run[name] for name in columns}
        fixed = {"of_run": _run.id.type, "token": _run.lease_token.type, "target": Text()}
        self._types: Mapping[str, TypeEngine[Any]] = {
            **fixed,
            **{name: new.type for name, new in self._new.items()},
        }
        self.of_one = self._update(lambda name: bindparam(name, type_=self._types[name])).prefix_with(
            sqlite_prefix, dialect="sqlite"
        )
        """Ends a run. The parameters are the run, its lease token, its status before (`was`) and after, the time, and
        `new_…` for each column."""
        arrays = func.unnest(*(bindparam(name, type_=ARRAY(type_)) for name, type_ in self._types.items()))
        ends = arrays.table_valued(*(column(name, type_) for name, type_ in self._types.items()))
        self._of_many = self._update(ends.render_derived("ends").c.__getitem__)

    def execute(self, conn: Connection, ends: Sequence[Mapping[str, Any]]) -> None:
        """Ends runs, given by the parameters of `of_one`, at the same time and with the same status before."""
        if not ends:
            return
        if conn.dialect.name == "sqlite":
            conn.execute(self.of_one, ends)
            return
        # An update for each run would take four times as long: each executes the trigger that counts runs.
        arrays = {name: [end[name] for end in ends] for name in self._types}
        conn.execute(self._of_many, {**arrays, "now": ends[0]["now"], "was": ends[0]["was"]})

    def _update(self, given: Callable[[str], ColumnElement[Any]]) -> Update:
        return (
            update(_runs)
            .where(_run.id == given("of_run"), _run.lease_token == given("token"), _run.status == bindparam("was"))
            .values(
                {
                    _run.status: given("target"),
                    _run.finished_at: END_TIME,
                    _run.updated_at: NOW,
                    _run.due_at: None,
                    _run.lease_token: None,
                    **{target: given(name) for name, target in self._new.items()},
                }
            )
        )
