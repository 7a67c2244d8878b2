"""Templates in flow definitions: any JSON value whose strings may hold Jinja2 expressions over `run` and `steps`.

A string that is one `{{ expression }}` becomes the expression's value, of whatever type. Other strings with `{{` or
`{%` become text; in text, values that are not strings are written as JSON. Strings with neither stay what they are.
"""

from engine.templates.template import Scope, Template, TemplateFaultError, compile_problems, compile_value

__all__ = ["Scope", "Template", "TemplateFaultError", "compile_problems", "compile_value"]
