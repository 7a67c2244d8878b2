"""The operators, lookups and methods of templates. Each pays the meter of the render.

The compiler of templates (language.py) replaces all operations by calls of these functions, so templates cannot reach
Python's own operators or attributes.
"""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import LoopContext

from domain.errors import NumberOutOfRangeError
from domain.json_codec import MAX_INTEGER, MIN_INTEGER
from engine.errors import StepError
from engine.secrets import placeholders
from engine.templates.meter import MAX_STEPS, Meter, template_error, type_name

Operation = Callable[..., Any]
"""A function with these parameters: a meter, a value, and the arguments in the template."""

_LOOP_FIELDS = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"}
)
_MAX_STRIPPED = 100


def text_of(meter: Meter, value: Any) -> str:
    """Returns `value` as text: a string unchanged, any other value as JSON."""
    if isinstance(value, str):
        return value
    meter.read(value)
    return orjson.dumps(value).decode()


class EncodedText(str):
    """Text that is percent-encoded already: the result of the filter `urlencode`, until something is made of it."""

    __slots__ = ()


class UrlText(str):
    """Text that an expression inserts into a URL."""

    __slots__ = ()


class EncodedUrlText(UrlText):
    """Text that an expression puts into a URL, and that is percent-encoded already."""

    __slots__ = ()


def url_text(meter: Meter, value: Any) -> str:
    """Returns `value` as text in a URL. Only strings, numbers and booleans are allowed there."""
    if not isinstance(value, str | int | float):
        raise template_error(f"{type_name(value).capitalize()} cannot stand in a URL: give a string or a number")
    if isinstance(value, EncodedText):
        return EncodedUrlText(value)
    return UrlText(text_of(meter, value))


def number(value: Any) -> Any:
    """Returns `value` after checking that it is a number that JSON can hold: finite, and at most 64 bits."""
    if isinstance(value, int):
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return value
    elif isinstance(value, float) and math.isfinite(value):
        return value
    raise number_out_of_range()


def number_out_of_range() -> StepError:
    """Returns the error of a number that JSON clients cannot keep."""
    message = "A number is out of range: whole numbers have at most 64 bits"
    return StepError(NumberOutOfRangeError.code, message, retryable=False)


def is_number(value: Any) -> bool:
    """Returns True if `value` is a number; booleans count as 0 and 1."""
    return isinstance(value, int | float)


def secret(meter: Meter, _: None, name: str) -> str:
    """Returns a reference to a secret of the project."""
    if meter.marker is None:
        raise template_error("Secrets are not available here")
    return meter.made(placeholders.reference(meter.marker, name))


def output(meter: Meter, value: Any) -> Any:
    """Returns the result of a template that is one expression."""
    meter.check_weight(meter.weigh(value))
    return value


def nothing(_: Meter, __: None) -> Undefined:
    """Returns the value of an `if` expression without `else` whose condition is false."""
    return StrictUndefined("The condition is false, and there is no `else`")


def concat(meter: Meter, *values: Any) -> str:
    """Implements the `~` operator."""
    return join_text(meter, (text_of(meter, value) for value in values))


def join_text(meter: Meter, pieces: Iterator[str]) -> str:
    """Joins the pieces to one string, and checks its length after each piece."""
    joined: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        meter.check_weight(length)
        meter.add_traffic(len(piece))
        joined.append(piece)
    return "".join(joined)


def make_list(meter: Meter, _: None, *items: Any) -> list[Any]:
    """Returns a list for a list or tuple literal."""
    return meter.made(list(items))


def make_dict(meter: Meter, _: None, *items: Any) -> dict[str, Any]:
    """Returns an object for an object literal; `items` alternates keys and values."""
    keys = items[::2]
    for key in keys:
        if not isinstance(key, str):
            raise template_error(f"The keys of an object are strings; this one is {type_name(key)}")
    return meter.made(dict(zip(keys, items[1::2], strict=True)))


def make_range(meter: Meter, _: None, *bounds: Any) -> list[int]:
    """Implements `range(stop)`, `range(start, stop)` and `range(start, stop, step)`."""
    numbers = range(*bounds)
    # A range longer than a machine word has no len().
    meter.work(MAX_STEPS + 1 if numbers and abs(numbers[-1] - numbers[0]) > 2**62 else len(numbers))
    return meter.made(list(numbers))


def loop_over(meter: Meter, values: Any, steps: int) -> Iterator[Any]:
    """Yields the elements that a `for` iterates over; each iteration pays `steps`."""
    for value in elements(values):
        meter.work(steps)
        yield value


def elements(value: Any) -> Any:
    """Returns `value` after checking that it is iterable: a list, an object (its keys) or a string (its characters)."""
    if isinstance(value, list | dict | str):
        return value
    raise template_error(f"A list is needed here; this is {type_name(value)}")


def item(meter: Meter, container: Any, key: Any, path: str) -> Any:
    """Returns `container.key` or `container[key]`; undefined if it does not exist. `path` is for messages."""
    if isinstance(container, Undefined):
        # A part of an undefined value is undefined: `a.b.c | default(…)` works, and the error names the first missing
        # part.
        return container
    if isinstance(container, LoopContext):
        return getattr(container, key) if key in _LOOP_FIELDS else StrictUndefined(f"loop has no {key!r}")
    value = _lookup(container, key)
    if value is _ABSENT:
        kind = type_name(container)
        owner = path if path and isinstance(container, dict) else f"{path} ({kind})" if path else kind
        return StrictUndefined(f"{owner} has no {_shown(key)}")
    return value


_ABSENT = object()


def _lookup(container: Any, key: Any) -> Any:
    if isinstance(container, dict) and isinstance(key, str):
        return container.get(key, _ABSENT)
    if isinstance(container, list | str) and isinstance(key, int) and -len(container) <= key < len(container):
        return container[key]
    return _ABSENT


def _shown(key: Any) -> str:
    return repr(key[:100] if isinstance(key, str) else key) if isinstance(key, str | int) else type_name(key)


def slice_(meter: Meter, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """Implements `value[start:stop:step]`."""
    if not isinstance(value, list | str):
        raise template_error(f"Only lists and strings can be sliced; this is {type_name(value)}")
    return meter.made(value[start:stop:step])


def add(meter: Meter, left: Any, right: Any) -> Any:
    """Implements the `+` operator for two numbers, strings or lists."""
    if is_number(left) and is_number(right):
        return number(left + right)
    if isinstance(left, str) and isinstance(right, str):
        return concat(meter, left, right)
    if isinstance(left, list) and isinstance(right, list):
        meter.check_weight(meter.weigh(left) + meter.weigh(right))
        return meter.made(left + right)
    raise template_error(f"Cannot add {type_name(left)} and {type_name(right)}; `~` joins any values as text")


def multiply(meter: Meter, left: Any, right: Any) -> Any:
    """Implements the `*` operator for two numbers, or for a string or list and a count."""
    if is_number(left) and is_number(right):
        return number(left * right)
    if isinstance(left, int):
        left, right = right, left
    if isinstance(left, str | list) and isinstance(right, int):
        meter.check_weight(meter.weigh(left) * max(right, 0))
        return meter.made(left * right)
    raise template_error(f"Cannot multiply {type_name(left)} and {type_name(right)}")


def power(_: Meter, left: Any, right: Any) -> Any:
    """Implements the `**` operator."""
    _numbers("raise", left, right)
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and right > 64:
        raise number_out_of_range()
    return number(left**right)


def _arithmetic(verb: str, operate: Callable[[Any, Any], Any]) -> Operation:
    def calculate(_: Meter, left: Any, right: Any) -> Any:
        _numbers(verb, left, right)
        return number(operate(left, right))

    return calculate


def _numbers(verb: str, *operands: Any) -> None:
    for operand in operands:
        if not is_number(operand):
            raise template_error(f"Cannot {verb} {type_name(operand)}: a number is needed")


def negative(_: Meter, value: Any) -> Any:
    """Implements the sign `-`."""
    _numbers("negate", value)
    return number(-value)


def positive(_: Meter, value: Any) -> Any:
    """Implements the sign `+`."""
    _numbers("take the sign of", value)
    return number(+value)


def compare(meter: Meter, left: Any, *steps: Any) -> bool:
    """Evaluates a chain of comparisons: `steps` alternates operators and right operands."""
    for name, right in zip(steps[::2], steps[1::2], strict=True):
        if not COMPARISONS[name](meter, left, right):
            return False
        left = right
    return True


def _comparison(operate: Callable[[Any, Any], bool]) -> Operation:
    def decide(meter: Meter, left: Any, right: Any) -> bool:
        meter.read(left)
        meter.read(right)
        return operate(left, right)

    return decide


def _ordering(operate: Callable[[Any, Any], bool]) -> Operation:
    def decide(meter: Meter, left: Any, right: Any) -> bool:
        meter.read(left)
        meter.read(right)
        try:
            return operate(left, right)
        except TypeError:
            raise not_comparable(left, right) from None

    return decide


def not_comparable(left: Any, right: Any) -> StepError:
    """Returns the error of two values without an order, such as a number and a string."""
    if type_name(left) == type_name(right):
        return template_error(f"{type_name(left).capitalize()} has no order; compare numbers, strings or lists of them")
    return template_error(f"Cannot compare {type_name(left)} and {type_name(right)}")


def contains(meter: Meter, value: Any, container: Any) -> bool:
    """Implements the `in` operator."""
    meter.weigh(value)
    if isinstance(container, dict):
        return isinstance(value, str) and value in container
    return bool(meter.read(value) in meter.read(elements(container)))


def _lacks(meter: Meter, value: Any, container: Any) -> bool:
    return not contains(meter, value, container)


COMPARISONS: dict[str, Operation] = {
    "eq": _comparison(operator.eq),
    "ne": _comparison(operator.ne),
    "lt": _ordering(operator.lt),
    "lteq": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gteq": _ordering(operator.ge),
    "in": contains,
    "notin": _lacks,
}


def call_method(meter: Meter, value: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Calls `value.method(…)` if it is one of METHODS."""
    function = METHODS[method].get(type(value))
    if function is None:
        raise template_error(f"{type_name(value)} has no method {method}()")
    return function(meter, value, *args, **kwargs)


def _string_method(name: str) -> Operation:
    """Returns the operation of a string method whose result is not much longer than the string."""
    function = getattr(str, name)

    def call(meter: Meter, value: str, *args: Any) -> Any:
        for text in (value, *args):
            meter.read(text)
        return meter.made(function(value, *args))

    return call


def lstrip(meter: Meter, value: str, chars: str | None = None) -> str:
    """Returns the string without leading white space, or without leading `chars`."""
    if chars is not None and len(chars) > _MAX_STRIPPED:
        # Python compares each character of the string with all of them.
        raise template_error(f"At most {_MAX_STRIPPED} characters can be stripped")
    return meter.made(meter.read(value).lstrip(chars))


def rstrip(meter: Meter, value: str, chars: str | None = None) -> str:
    """Returns the string without trailing white space, or without trailing `chars`."""
    return lstrip(meter, value[::-1], chars)[::-1]


def strip(meter: Meter, value: str, chars: str | None = None) -> str:
    """Returns the string without white space, or without `chars`, at both ends."""
    return rstrip(meter, lstrip(meter, value, chars), chars)


def split(meter: Meter, value: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """Returns the parts of a string between its separators (default: white space)."""
    most = MAX_STEPS if maxsplit < 0 else min(maxsplit, MAX_STEPS)
    return meter.made(meter.read(value).split(sep, most))


def replace(meter: Meter, value: str, old: str, new: str, count: int = -1) -> str:
    """Returns the string with `old` replaced by `new`: the first `count` times, or everywhere if `count` is
    negative."""
    occurrences = meter.read(value).count(old)
    replaced = occurrences if count < 0 else min(occurrences, count)
    meter.check_weight(len(value) + replaced * max(len(new) - len(old), 0))
    return meter.made(value.replace(old, new, replaced))


def get(_: Meter, value: dict[str, Any], key: str, default: Any = None) -> Any:
    """Returns the value of `key` in an object, or `default`."""
    return value.get(key, default)


def keys(meter: Meter, value: dict[str, Any]) -> list[str]:
    """Returns the keys of an object."""
    return meter.made(list(value))


def values(meter: Meter, value: dict[str, Any]) -> list[Any]:
    """Returns the values of an object."""
    return meter.made(list(value.values()))


def items(meter: Meter, value: dict[str, Any]) -> list[list[Any]]:
    """Returns the pairs of key and value of an object."""
    return meter.made([meter.made([key, entry]) for key, entry in value.items()])


def count_of(meter: Meter, value: Any, element: Any) -> int:
    """Returns the number of elements of a list that are equal to `element`, or of occurrences of a substring."""
    meter.read(element)
    return int(meter.read(value).count(element))


_STRING_METHODS = (
    # rfind is not allowed: Python searches backward in quadratic time.
    "upper lower title capitalize casefold swapcase removeprefix removesuffix startswith endswith find"
    " isdigit isalpha isalnum isspace islower isupper"
)

METHODS: dict[str, dict[type, Operation]] = {
    **{name: {str: _string_method(name)} for name in _STRING_METHODS.split()},
    "strip": {str: strip},
    "lstrip": {str: lstrip},
    "rstrip": {str: rstrip},
    "split": {str: split},
    "replace": {str: replace},
    "count": {str: count_of, list: count_of},
    "get": {dict: get},
    "keys": {dict: keys},
    "values": {dict: values},
    "items": {dict: items},
}
"""The methods, by name and then by the type of the value."""

OPERATIONS: dict[str, Operation] = {
    "value": output,
    "secret": secret,
    "text": text_of,
    "url": url_text,
    "nothing": nothing,
    "concat": concat,
    "list": make_list,
    "dict": make_dict,
    "range": make_range,
    "loop": loop_over,
    "item": item,
    "slice": slice_,
    "call": call_method,
    "compare": compare,
    "add": add,
    "sub": _arithmetic("subtract with", operator.sub),
    "mul": multiply,
    "div": _arithmetic("divide with", operator.truediv),
    "floordiv": _arithmetic("divide with", operator.floordiv),
    "mod": _arithmetic("divide with", operator.mod),
    "pow": power,
    "neg": negative,
    "pos": positive,
}
"""The operations, by their name in compiled templates."""
