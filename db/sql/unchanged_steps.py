"""SQL for the number of leading steps that are equal in two definitions."""

from typing import Any

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class UnchangedSteps(FunctionElement[int]):
    """`domain.flows.definition.unchanged_steps` of two columns of JSON text."""

    type = Integer()
    inherit_cache = True
    name = "unchanged_steps"


@compiles(UnchangedSteps, "postgresql")
def _write_for_postgresql(element: UnchangedSteps, compiler: SQLCompiler, **options: Any) -> str:
    old, new = (compiler.process(clause, **options) for clause in element.clauses)
    steps = "jsonb_array_elements(CAST({} AS jsonb) -> 'steps') WITH ORDINALITY AS {}(step, place)"
    pairs = f"{steps.format(old, 'old_steps')} JOIN {steps.format(new, 'new_steps')} USING (place)"
    is_same = "bool_and(old_steps.step = new_steps.step) OVER (ORDER BY old_steps.place)"
    # The text consists only of compiled clauses.
    return f"(SELECT count(*) FROM (SELECT {is_same} AS is_same FROM {pairs}) AS compared WHERE is_same)"  # noqa: S608


@compiles(UnchangedSteps)
def _write(element: UnchangedSteps, compiler: SQLCompiler, **options: Any) -> str:
    return f"unchanged_steps({compiler.process(element.clauses, **options)})"
