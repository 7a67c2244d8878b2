"""Templates in flow definitions: JSON values whose strings may hold Jinja2 expressions over `run` and `steps`.

A string that is one `{{ expression }}`, with optional white space around it, renders to the expression's value and
keeps its type. Other strings with `{{` or `{%` render to text, in which values that are not strings are written as
JSON. Strings with neither stay unchanged.
"""

from engine.templates.template import (
    Scope,
    Template,
    TemplateCompileError,
    compile_condition,
    compile_problems,
    compile_value,
    condition_problems,
)

__all__ = [
    "Scope",
    "Template",
    "TemplateCompileError",
    "compile_condition",
    "compile_problems",
    "compile_value",
    "condition_problems",
]
