"""SQL functions that both dialects write by a template."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


def write_by_templates(element: type[FunctionElement[Any]], *, postgresql: str, sqlite: str) -> None:
    """Makes each dialect write `element` by its template, in which `{0}`, `{1}` … stand for the clauses."""
    for dialect, template in (("postgresql", postgresql), ("sqlite", sqlite)):
        _compile(element, dialect, template)


def _compile(element: type[FunctionElement[Any]], dialect: str, template: str) -> None:
    @compiles(element, dialect)
    def write(clause: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
        return template.format(*(compiler.process(part, **kw) for part in clause.clauses))
