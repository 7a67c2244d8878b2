"""Compiles and renders JSON values that hold templates."""

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import orjson
from jinja2 import UndefinedError

from domain.flows.json_schema import MAX_PROBLEMS, path_text
from domain.flows.templated import is_template
from domain.json_codec import KIB
from domain.problem import Problem
from engine.errors import StepError
from engine.templates import language
from engine.templates.meter import MAX_WEIGHT, Meter, limit_exceeded, template_error, type_name
from engine.templates.operations import join_text
from engine.templates.urls import url_pieces

_logger = logging.getLogger(__name__)

Scope: TypeAlias = Mapping[str, Any]
"""The variables of templates, as plain JSON: `{"run": {…}, "steps": {name: {"output": …, "status": …}}}`.

If templates can use secrets, `secrets` is the marker of references to them.
"""
Path: TypeAlias = tuple[str | int, ...]

MAX_TEMPLATES = 1_000
"""Largest number of templates in one value. Each takes some hundred microseconds to compile."""
MAX_TOTAL_SOURCE = 64 * KIB
"""Largest number of characters of all templates in one value."""
MAX_NESTING = 100
"""Largest depth of lists and objects in a value."""


_MAX_SHOWN = 100
"""Largest number of characters of a value that a message shows."""


class TemplateCompileError(ValueError):
    """A template in a value does not compile. `path` is its position in the value."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(f"{path_text(path)}: {message}" if path else message)
        self.message = message
        self.path = path


class Template:
    """A compiled JSON value. It can be cached, and is thread-safe."""

    def __init__(self, root: "_Part", secrets: frozenset[str] = frozenset()) -> None:
        self._root = root
        self.secrets = secrets
        """Names of the secrets to which the value refers. They render to references (`engine.secrets`)."""

    def render(self, scope: Scope) -> Any:
        """Returns the value with its templates rendered from `scope`.

        The result may share parts with the scope: callers must change neither afterwards.

        Raises:
            StepError: TEMPLATE_ERROR if the templates fail on the data; TEMPLATE_LIMIT if they exceed a limit.
        """
        return self._root.render(_Render(scope))


def compile_value(value: Any, urls: Collection[str] = (), names: frozenset[str] = language.SCOPE_NAMES) -> Template:
    """Compiles `value`, whose templates may use the variables `names`.

    The members of an object that `urls` names are URLs: values inserted into them are percent-encoded.

    This takes up to a second for values near the limits: callers must compile large ones off the event loop.

    Raises:
        TemplateCompileError: the first template that does not compile.
    """
    _check_size(value)
    secrets: set[str] = set()
    return Template(_part(value, (), _Compilation(urls, names, secrets)), frozenset(secrets))


def compile_problems(
    value: Any,
    path: str,
    names: frozenset[str] = language.SCOPE_NAMES,
    *,
    secret_fields: Collection[str] = (),
) -> list[Problem]:
    """Returns the problems of the templates in `value`, at most 20; `path` is its position in the document.

    `secret_fields` are the fields of `value` in which templates may refer to secrets.
    """
    problems: list[Problem] = []
    try:
        for where, source in _check_size(value):
            try:
                if _Text(source, where, names).secrets:
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


def compile_condition(condition: bool | str, names: frozenset[str] = language.SCOPE_NAMES) -> Template:
    """Compiles a condition, whose template must render to true or false; null counts as false.

    Any text compiles, because versions of before text was refused exist: they fail when the condition is evaluated.
    """
    try:
        root: _Part = _Constant(condition) if isinstance(condition, bool) else _Text(_expression(condition), (), names)
    except TemplateCompileError:
        root = _Constant(condition)
    return Template(_Condition(root))


def condition_problems(
    condition: bool | str | None, path: str, names: frozenset[str] = language.SCOPE_NAMES
) -> list[Problem]:
    """Returns the problems of a condition; `path` is its position in the document."""
    if condition is None or isinstance(condition, bool):
        return []
    if not condition.strip():
        return [Problem(path, "A condition must be an expression; omit it if there is none")]
    try:
        text = _Text(_expression(condition), (), names)
    except TemplateCompileError as error:
        return [Problem(path, error.message)]
    if text.secrets:
        return [Problem(path, "Secrets cannot be used here: the result of a condition is shown")]
    if text.is_expression:
        return []
    message = "A condition must be one expression, with nothing around it: write `{{ a == b }}` or `a == b`"
    return [Problem(path, message)]


def _expression(condition: str) -> str:
    return condition if is_template(condition) else f"{{{{ {condition} }}}}"


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
        if is_template(value):
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


class _Condition:
    def __init__(self, root: _Part) -> None:
        self._root = root

    def render(self, render: _Render) -> Any:
        value = self._root.render(render)
        if value is None or isinstance(value, bool):
            return bool(value)
        shown = orjson.dumps(value).decode()
        message = (
            f"The condition gave {type_name(value)}, {shown[:_MAX_SHOWN]}, and not true, false or null: compare it, as"
            " in `value == 'yes'`"
        )
        raise StepError("CONDITION_NOT_BOOLEAN", message, retryable=False)


class _Text:
    """A string with templates."""

    inserted = "text"
    """The operation that writes values between other text."""

    def __init__(self, source: str, path: Path, names: frozenset[str]) -> None:
        try:
            compiled = language.compile_source(source, self.inserted, names)
        except language.LanguageError as error:
            raise TemplateCompileError(error.message, path) from None
        self._template, self.is_expression, self._cost, self.secrets = compiled
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
            # Operations on unexpected data raise errors of many classes: TypeError, KeyError, OverflowError, … Their
            # messages are about Python, not about the template.
            _logger.debug("template failed on its data", exc_info=error)
            message = "An operation, filter or method of the template does not accept its values"
            raise self._located(template_error(message)) from None

    def _rendered(self, render: _Render) -> Any:
        context = cast("language.MeteredContext", self._template.new_context(render.variables, shared=True))
        context.meter = render.meter
        render.meter.work(self._cost)
        pieces = self._template.root_render_func(context)
        return next(iter(pieces)) if self.is_expression else self._joined(render, pieces)

    def _joined(self, render: _Render, pieces: Iterator[str]) -> str:
        return join_text(render.meter, pieces)

    def _located(self, error: StepError) -> StepError:
        message = f"{self._path}: {error.message}" if self._path else error.message
        return StepError(error.code, message, retryable=False, details={"path": self._path})


class _Url(_Text):
    """A URL with templates. Values behind the host are percent-encoded, so they cannot change another part of the
    URL."""

    inserted = "url"

    def _joined(self, render: _Render, pieces: Iterator[str]) -> str:
        return join_text(render.meter, url_pieces(render.meter, pieces))


class _Compilation(NamedTuple):
    """The settings that all parts of one value share."""

    urls: Collection[str]
    """The members of the value that are URLs."""
    names: frozenset[str]
    """The variables that templates may use."""
    secrets: set[str]
    """The names of the secrets to which the parts refer."""


def _part(value: Any, path: Path, of: _Compilation) -> _Part:
    if isinstance(value, str) and is_template(value):
        is_url = len(path) == 1 and path[0] in of.urls
        text = _Url(value, path, of.names) if is_url else _Text(value, path, of.names)
        of.secrets.update(text.secrets)
        return text
    if isinstance(value, dict):
        pairs = [(_part(key, (*path, key), of), _part(entry, (*path, key), of)) for key, entry in value.items()]
        if not all(isinstance(part, _Constant) for pair in pairs for part in pair):
            return _Object(pairs)
    elif isinstance(value, list):
        parts = [_part(element, (*path, index), of) for index, element in enumerate(value)]
        if not all(isinstance(part, _Constant) for part in parts):
            return _List(parts)
    return _Constant(value)
