"""Compiles and renders JSON values that hold templates."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, cast

from jinja2 import UndefinedError

from domain.errors import Problem
from domain.json_codec import KIB
from domain.json_schema import MAX_PROBLEMS, path_text
from engine.errors import StepError
from engine.templates import language
from engine.templates.meter import MAX_WEIGHT, Meter, limit_exceeded, template_error, type_name
from engine.templates.operations import join_text

Scope: TypeAlias = Mapping[str, Any]
"""The variables of templates, as plain JSON: `{"run": {…}, "steps": {name: {"output": …, "status": …}}}`.

`secrets`, if secrets can be used, is the marker of references to them."""
Path: TypeAlias = tuple[str | int, ...]

MAX_TEMPLATES = 1_000
"""Templates in one value. Each takes some hundred microseconds to compile."""
MAX_TOTAL_SOURCE = 64 * KIB
"""Characters of all templates in one value."""
MAX_NESTING = 100
"""Levels of lists and objects in a value."""


class TemplateCompileError(ValueError):
    """A template in a value does not compile; `path` is its position in the value."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(f"{path_text(path)}: {message}" if path else message)
        self.message = message
        self.path = path


class Template:
    """A compiled JSON value. It can be cached, and rendered by several threads."""

    def __init__(self, root: "_Part", secrets: frozenset[str] = frozenset()) -> None:
        self._root = root
        self.secrets = secrets
        """Names of the secrets to which the value refers. They render to references (`engine.secrets`)."""

    def render(self, scope: Scope) -> Any:
        """Returns the value with its templates rendered from `scope`.

        The result may share parts with the scope: callers must change neither afterwards.

        Raises:
            StepError: TEMPLATE_ERROR if the data does not fit the templates; TEMPLATE_LIMIT if they exceed a limit.
        """
        return self._root.render(_Render(scope))


def compile_value(value: Any) -> Template:
    """Compiles `value`.

    This takes up to a second for values near the limits: callers must compile large ones off the event loop.

    Raises:
        TemplateCompileError: the first template that does not compile.
    """
    _check_size(value)
    secrets: set[str] = set()
    return Template(_part(value, (), secrets), frozenset(secrets))


def compile_problems(value: Any, path: str, secret_fields: Collection[str] = ()) -> list[Problem]:
    """Returns the problems of the templates in `value`, at most 20; `path` is its position in the document.

    `secret_fields` are the fields of `value` in which templates may refer to secrets.
    """
    problems: list[Problem] = []
    try:
        for where, source in _check_size(value):
            try:
                if _Text(source, where).secrets:
                    _check_secrets(source, where, secret_fields)
            except TemplateCompileError as error:
                problems.append(Problem(path_text(error.path, path), error.message))
                if len(problems) == MAX_PROBLEMS:
                    break
    except TemplateCompileError as error:
        return [Problem(path_text(error.path, path), error.message)]
    return problems


def _check_secrets(source: str, path: Path, secret_fields: Collection[str]) -> None:
    if not path or path[0] not in secret_fields:
        allowed = ", ".join(f"`{name}`" for name in secret_fields)
        there = f"; in this input they can be used in {allowed}" if allowed else ""
        raise TemplateCompileError(f"Secrets cannot be used here: the result is stored or shown{there}", path)
    if path[-1] == source:
        raise TemplateCompileError("A secret cannot be the key of an object", path)


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def _check_size(value: Any) -> list[tuple[Path, str]]:
    """Returns the templates in `value` with their paths; raises TemplateCompileError if there are too many."""
    templates = list(_templates(value, ()))
    if len(templates) > MAX_TEMPLATES or sum(len(source) for _, source in templates) > MAX_TOTAL_SOURCE:
        message = f"At most {MAX_TEMPLATES:,} templates, with {MAX_TOTAL_SOURCE:,} characters in all, are allowed here"
        raise TemplateCompileError(message, ())
    return templates


def _templates(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if len(path) > MAX_NESTING:
        raise TemplateCompileError(f"The value is nested more than {MAX_NESTING} levels deep", path)
    if isinstance(value, str):
        if _is_template(value):
            yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _templates(key, (*path, key))
            yield from _templates(entry, (*path, key))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _templates(element, (*path, index))


class _Render:
    """The state of one render: variables, meter, and weight of the result."""

    def __init__(self, scope: Scope) -> None:
        self.variables = dict(scope)
        self.meter = Meter(scope.get("steps"), scope.get("secrets"))
        self._weight = 0

    def add_to_result(self, value: Any) -> Any:
        """Returns `value`, and counts its weight as part of the result."""
        self._weight += self.meter.weigh(value)
        if self._weight > MAX_WEIGHT:
            raise limit_exceeded(f"The rendered value has more than {MAX_WEIGHT:,} characters")
        return value


class _Part(Protocol):
    """A part of a compiled value."""

    def render(self, render: _Render) -> Any:
        """Returns the rendered part."""
        ...


class _Constant:
    """A part without templates."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def render(self, render: _Render) -> Any:
        return self._value


class _List:
    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts

    def render(self, render: _Render) -> Any:
        return [part.render(render) for part in self._parts]


class _Object:
    def __init__(self, parts: list[tuple[_Part, _Part]]) -> None:
        self._parts = parts

    def render(self, render: _Render) -> Any:
        result: dict[str, Any] = {}
        for key_part, part in self._parts:
            key = key_part.render(render)
            if not isinstance(key, str):
                raise template_error(f"The key of an object rendered to {type_name(key)}; a string is needed")
            if key in result:
                raise template_error(f"Two keys of an object rendered to {key[:100]!r}")
            result[key] = part.render(render)
        return result


class _Text:
    """A string with templates."""

    def __init__(self, source: str, path: Path) -> None:
        try:
            compiled = language.compile_source(source)
        except language.LanguageError as error:
            raise TemplateCompileError(error.message, path) from None
        self._template, self._is_expression, self._cost, self.secrets = compiled
        self._path = path_text(path)

    def render(self, render: _Render) -> Any:
        try:
            return render.add_to_result(self._rendered(render))
        except StepError as error:
            raise self._located(error) from None
        except UndefinedError as error:
            raise self._located(template_error(str(error))) from None
        except ZeroDivisionError:
            raise self._located(template_error("Division by zero")) from None
        except Exception as error:
            # Operations on unexpected data raise errors of many classes: TypeError, KeyError, OverflowError, …
            raise self._located(template_error(f"{type(error).__name__}: {error}"[:500])) from None

    def _rendered(self, render: _Render) -> Any:
        context = cast("language.MeteredContext", self._template.new_context(render.variables, shared=True))
        context.meter = render.meter
        render.meter.work(self._cost)
        pieces = self._template.root_render_func(context)
        return next(iter(pieces)) if self._is_expression else join_text(render.meter, pieces)

    def _located(self, error: StepError) -> StepError:
        message = f"{self._path}: {error.message}" if self._path else error.message
        return StepError(error.code, message, retryable=False, details={"path": self._path})


def _part(value: Any, path: Path, secrets: set[str]) -> _Part:
    """Returns `value` compiled, and adds the names of its secrets to `secrets`."""
    if isinstance(value, str) and _is_template(value):
        text = _Text(value, path)
        secrets |= text.secrets
        return text
    if isinstance(value, dict):
        pairs = [
            (_part(key, (*path, key), secrets), _part(entry, (*path, key), secrets)) for key, entry in value.items()
        ]
        if not all(isinstance(part, _Constant) for pair in pairs for part in pair):
            return _Object(pairs)
    elif isinstance(value, list):
        parts = [_part(element, (*path, index), secrets) for index, element in enumerate(value)]
        if not all(isinstance(part, _Constant) for part in parts):
            return _List(parts)
    return _Constant(value)
