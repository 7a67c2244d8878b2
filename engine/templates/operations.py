"""The operators, lookups and methods of templates, each within the bounds of the render's meter.

A template is rewritten when compiled so that all its operations come here (language.py); none reaches Python's own
operators or attributes.
"""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import LoopContext

from engine.templates.meter import MAX_STEPS, Meter, template_error, type_name

Operation = Callable[..., Any]
"""Takes the meter, the value it works on, and the arguments as the template gives them."""

_LOOP_FIELDS = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"}
)
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_MAX_STRIPPED = 100


def text_of(meter: Meter, value: Any) -> str:
    """`value` inside text: a string as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    meter.read(value)
    return orjson.dumps(value).decode()


def number(value: Any) -> Any:
    """`value`, a number that JSON can hold: 64 bits, finite."""
    if isinstance(value, int):
        if _MIN_INT <= value <= _MAX_INT:
            return value
    elif isinstance(value, float) and math.isfinite(value):
        return value
    raise template_error("The number is out of range")


def is_number(value: Any) -> bool:
    """Whether `value` is a number; booleans count as 0 and 1."""
    return isinstance(value, int | float)


def output(meter: Meter, value: Any) -> Any:
    """What a template that is one expression gives."""
    meter.room(meter.weigh(value))
    return value


def nothing(_: Meter, __: None) -> Undefined:
    """What an `if` without `else` in an expression gives when it does not hold."""
    return StrictUndefined("The condition does not hold, and there is no `else`")


def concat(meter: Meter, *values: Any) -> str:
    """The `~` operator."""
    return join_text(meter, (text_of(meter, value) for value in values))


def join_text(meter: Meter, pieces: Iterator[str]) -> str:
    """The pieces as one string; its length is watched while they come."""
    found: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        meter.room(length)
        meter.carry(len(piece))
        found.append(piece)
    return "".join(found)


def make_list(meter: Meter, _: None, *items: Any) -> list[Any]:
    """A list or tuple as written in a template."""
    return meter.made(list(items))


def make_dict(meter: Meter, _: None, *items: Any) -> dict[str, Any]:
    """An object as written in a template; `items` are its keys and values in turn."""
    keys = items[::2]
    for key in keys:
        if not isinstance(key, str):
            raise template_error(f"The keys of an object are strings; this one is {type_name(key)}")
    return meter.made(dict(zip(keys, items[1::2], strict=True)))


def make_range(meter: Meter, _: None, *bounds: Any) -> list[int]:
    """`range(stop)`, `range(start, stop)` or `range(start, stop, step)`."""
    numbers = range(*bounds)
    # A range longer than a machine word has no len().
    meter.work(MAX_STEPS + 1 if numbers and abs(numbers[-1] - numbers[0]) > 2**62 else len(numbers))
    return meter.made(list(numbers))


def loop_over(meter: Meter, values: Any, steps: int) -> Iterator[Any]:
    """The elements of what a `for` goes over; each turn is paid with `steps`."""
    for value in elements(values):
        meter.work(steps)
        yield value


def elements(value: Any) -> Any:
    """`value`, which can be gone through: a list, the keys of an object, the characters of a string."""
    if isinstance(value, list | dict | str):
        return value
    raise template_error(f"A list is needed here; this is {type_name(value)}")


def item(meter: Meter, container: Any, key: Any, path: str) -> Any:
    """`container.key` or `container[key]`; undefined when it has none. `path` is how the template calls it."""
    if isinstance(container, Undefined):
        # What is missing in something missing: `a.b.c | default(…)` works, and an error names the first.
        return container
    if isinstance(container, LoopContext):
        return getattr(container, key) if key in _LOOP_FIELDS else StrictUndefined(f"loop has no {key!r}")
    found = _lookup(container, key)
    if found is _ABSENT:
        kind = type_name(container)
        owner = path if path and isinstance(container, dict) else f"{path} ({kind})" if path else kind
        return StrictUndefined(f"{owner} has no {_shown(key)}")
    return found


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
    """`value[start:stop:step]`."""
    if not isinstance(value, list | str):
        raise template_error(f"Only lists and strings can be sliced; this is {type_name(value)}")
    return meter.made(value[start:stop:step])


def add(meter: Meter, left: Any, right: Any) -> Any:
    """The `+` operator: numbers, two strings, two lists."""
    if is_number(left) and is_number(right):
        return number(left + right)
    if isinstance(left, str) and isinstance(right, str):
        return concat(meter, left, right)
    if isinstance(left, list) and isinstance(right, list):
        meter.room(meter.weigh(left) + meter.weigh(right))
        return meter.made(left + right)
    raise template_error(f"Cannot add {type_name(left)} and {type_name(right)}; `~` joins anything as text")


def multiply(meter: Meter, left: Any, right: Any) -> Any:
    """The `*` operator: numbers, or a string or list and how often."""
    if is_number(left) and is_number(right):
        return number(left * right)
    if isinstance(left, int):
        left, right = right, left
    if isinstance(left, str | list) and isinstance(right, int):
        meter.room(meter.weigh(left) * max(right, 0))
        return meter.made(left * right)
    raise template_error(f"Cannot multiply {type_name(left)} and {type_name(right)}")


def power(_: Meter, left: Any, right: Any) -> Any:
    """The `**` operator."""
    _numbers("raise", left, right)
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and right > 64:
        raise template_error("The number is out of range")
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
    """The sign `-`."""
    _numbers("negate", value)
    return number(-value)


def positive(_: Meter, value: Any) -> Any:
    """The sign `+`."""
    _numbers("take the sign of", value)
    return number(+value)


def compare(meter: Meter, left: Any, *steps: Any) -> bool:
    """A comparison, or a chain of them: `steps` are operators and their right sides in turn."""
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


def contains(meter: Meter, value: Any, container: Any) -> bool:
    """The `in` operator."""
    meter.weigh(value)
    if isinstance(container, dict):
        return isinstance(value, str) and value in container
    return bool(meter.read(value) in meter.read(elements(container)))


def _lacks(meter: Meter, value: Any, container: Any) -> bool:
    return not contains(meter, value, container)


COMPARISONS: dict[str, Operation] = {
    "eq": _comparison(operator.eq),
    "ne": _comparison(operator.ne),
    "lt": _comparison(operator.lt),
    "lteq": _comparison(operator.le),
    "gt": _comparison(operator.gt),
    "gteq": _comparison(operator.ge),
    "in": contains,
    "notin": _lacks,
}


def call_method(meter: Meter, value: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """`value.method(…)`, for the few methods that there are."""
    function = METHODS[method].get(type(value))
    if function is None:
        raise template_error(f"{type_name(value)} has no method {method}()")
    return function(meter, value, *args, **kwargs)


def _string_method(name: str) -> Operation:
    """A method of strings whose result is not much longer than the string."""
    function = getattr(str, name)

    def call(meter: Meter, value: str, *args: Any) -> Any:
        for each in (value, *args):
            meter.read(each)
        return meter.made(function(value, *args))

    return call


def lstrip(meter: Meter, value: str, chars: str | None = None) -> str:
    """The string without leading white space, or without leading `chars`."""
    if chars is not None and len(chars) > _MAX_STRIPPED:
        # Python looks through all of them for each character of the string.
        raise template_error(f"At most {_MAX_STRIPPED} characters can be stripped")
    return meter.made(meter.read(value).lstrip(chars))


def rstrip(meter: Meter, value: str, chars: str | None = None) -> str:
    """The string without trailing white space, or without trailing `chars`."""
    return lstrip(meter, value[::-1], chars)[::-1]


def strip(meter: Meter, value: str, chars: str | None = None) -> str:
    """The string without white space, or without `chars`, at both ends."""
    return rstrip(meter, lstrip(meter, value, chars), chars)


def split(meter: Meter, value: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """The parts of a string between its separators (by default: white space)."""
    most = MAX_STEPS if maxsplit < 0 else min(maxsplit, MAX_STEPS)
    return meter.made(meter.read(value).split(sep, most))


def replace(meter: Meter, value: str, old: str, new: str, count: int = -1) -> str:
    """The string with `old` replaced by `new`, the first `count` times or always."""
    found = meter.read(value).count(old)
    found = found if count < 0 else min(found, count)
    meter.room(len(value) + found * max(len(new) - len(old), 0))
    return meter.made(value.replace(old, new, found))


def get(_: Meter, value: dict[str, Any], key: str, default: Any = None) -> Any:
    """The object's entry, or `default`."""
    return value.get(key, default)


def keys(meter: Meter, value: dict[str, Any]) -> list[str]:
    """The keys of an object."""
    return meter.made(list(value))


def values(meter: Meter, value: dict[str, Any]) -> list[Any]:
    """The values of an object."""
    return meter.made(list(value.values()))


def items(meter: Meter, value: dict[str, Any]) -> list[list[Any]]:
    """The keys and values of an object, in pairs."""
    return meter.made([meter.made([key, each]) for key, each in value.items()])


def count_of(meter: Meter, value: Any, element: Any) -> int:
    """Returns how often a list contains `element`, or a string contains it as a substring."""
    meter.read(element)
    return int(meter.read(value).count(element))


_STRING_METHODS = (
    # Not rfind: Python searches backward in quadratic time.
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
"""By name, then by the type that has it."""

OPERATIONS: dict[str, Operation] = {
    "value": output,
    "text": text_of,
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
"""By the name under which rewritten templates call them."""
