"""The filters and tests for templates. They have the names and arguments of Jinja's, and pay the meter.

Filters that return several values return a list. Text is not escaped for HTML.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from jinja2 import StrictUndefined, Undefined

from engine.templates import operations
from engine.templates.dates import DATE_FILTERS
from engine.templates.encodings import ENCODING_FILTERS
from engine.templates.meter import MAX_WEIGHT, Meter, template_error, type_name
from engine.templates.operations import Operation

_MAX_NUMBER_TEXT = 1_000
_MAX_DECIMALS = 20
_MAX_WIDTH = 1_000
_MAX_PATH = 20
_PRINTF = re.compile(r"%(?:%|[-+ #0]{0,5}(\d{0,4})(?:\.(\d{1,4}))?([sdifFeEgGxXo]))|%|[^%]+")


def default(_: Meter, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    """Returns `default_value` for an undefined value; with `boolean` also for an empty, zero, false or null one."""
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def length(_: Meter, value: Any) -> int:
    """Returns the number of elements, keys or characters."""
    return len(operations.elements(value))


def first(_: Meter, value: Any) -> Any:
    """Returns the first element; undefined if the value is empty."""
    return next(iter(operations.elements(value)), StrictUndefined("There is no first element: the value is empty"))


def last(_: Meter, value: Any) -> Any:
    """Returns the last element; undefined if the value is empty."""
    return next(reversed(operations.elements(value)), StrictUndefined("There is no last element: the value is empty"))


def join(meter: Meter, value: Any, d: str = "", attribute: Any = None) -> str:
    """Returns the elements as text, separated by `d`."""

    def pieces() -> Iterator[str]:
        for index, element in enumerate(picked(meter, value, attribute)):
            if index:
                yield operations.text_of(meter, d)
            yield operations.text_of(meter, element)

    return operations.join_text(meter, pieces())


def picked(meter: Meter, value: Any, attribute: Any) -> Iterator[Any]:
    """Yields the elements of `value`, or the part of each element at the dotted path `attribute`."""
    elements = operations.elements(value)
    meter.work(len(elements))
    for element in elements:
        yield element if attribute is None else part(meter, element, attribute)


def part(meter: Meter, value: Any, attribute: Any) -> Any:
    """Returns the part of `value` at the dotted path `attribute`; undefined if it does not exist."""
    names = str(attribute).split(".", _MAX_PATH)
    meter.work(len(names))
    for name in names:
        value = operations.item(meter, value, int(name) if name.isdecimal() else name, "an element")
    return value


def mapped(meter: Meter, value: Any, *args: Any, attribute: Any = None, **kwargs: Any) -> list[Any]:
    """Applies a filter to each element (`map('upper')`), or selects a part of each element (`map(attribute='a.b')`)."""
    if attribute is None:
        function, args = _named(FILTERS, "filter", args)
        return meter.made([function(meter, element, *args, **kwargs) for element in picked(meter, value, None)])
    if "default" in kwargs:
        return meter.made([default(meter, element, kwargs["default"]) for element in picked(meter, value, attribute)])
    return meter.made(list(picked(meter, value, attribute)))


def _named(table: dict[str, Operation], noun: str, args: tuple[Any, ...]) -> tuple[Operation, tuple[Any, ...]]:
    name = args[0] if args else None
    if not isinstance(name, str) or name not in table:
        raise template_error(
            f"No {noun} is called {name[:100]!r}" if isinstance(name, str) else f"The {noun}'s name is needed"
        )
    return table[name], args[1:]


def _choice(*, keeps: bool, by_attribute: bool) -> Operation:
    def choose(meter: Meter, value: Any, *args: Any) -> list[Any]:
        attribute, rest = (args[0] if args else None, args[1:]) if by_attribute else (None, args)
        test, rest = _named(TESTS, "test", rest) if rest else (_true, ())
        subjects = picked(meter, value, attribute)
        chosen = [
            element
            for element, subject in zip(value, subjects, strict=True)
            if bool(test(meter, subject, *rest)) is keeps
        ]
        return meter.made(chosen)

    return choose


def _true(_: Meter, value: Any) -> bool:
    return bool(value)


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _keys(meter: Meter, value: Any, attribute: Any, case_sensitive: bool) -> list[Any]:
    meter.read(value)
    keys = [meter.read(key) for key in picked(meter, value, attribute)]
    return keys if case_sensitive else [_folded(key) for key in keys]


def ordered(
    meter: Meter, value: Any, reverse: bool = False, case_sensitive: bool = False, attribute: Any = None
) -> list[Any]:
    """Returns the elements in order. They must be all numbers, all strings, or all lists of these."""
    keys = _keys(meter, value, attribute, case_sensitive)
    meter.work(len(keys) * 2)
    elements = list(value)
    try:
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=bool(reverse))
    except TypeError:
        raise _mixed(keys) from None
    return meter.made([elements[index] for index in order])


def _mixed(keys: Sequence[Any]) -> Exception:
    kinds = sorted({type_name(key) for key in keys})
    return template_error(f"The values have no order, since they are {' and '.join(kinds)}")


def unique(meter: Meter, value: Any, case_sensitive: bool = False, attribute: Any = None) -> list[Any]:
    """Returns the elements without duplicates; the first of equal elements is kept."""
    seen: dict[bytes, Any] = {}
    for key, element in zip(_keys(meter, value, attribute, case_sensitive), value, strict=True):
        seen.setdefault(orjson.dumps(key, option=orjson.OPT_SORT_KEYS), element)
    return meter.made(list(seen.values()))


def _extreme(best: Callable[..., int]) -> Operation:
    def find(meter: Meter, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:
        keys = _keys(meter, value, attribute, case_sensitive)
        if not keys:
            return StrictUndefined("There is no smallest or largest element: the value is empty")
        try:
            return list(value)[best(range(len(keys)), key=keys.__getitem__)]
        except TypeError:
            raise _mixed(keys) from None

    return find


def total(meter: Meter, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    """Returns the sum of `start` and the numbers."""
    for element in picked(meter, value, attribute):
        start = operations.add(meter, start, element) if operations.is_number(element) else _refuse_sum(element)
    return operations.number(start)


def _refuse_sum(value: Any) -> Any:
    raise template_error(f"Cannot sum up {type_name(value)}")


def backward(meter: Meter, value: Any) -> Any:
    """Returns the elements, or the characters, in reverse order."""
    if isinstance(value, str):
        return meter.made(meter.read(value)[::-1])
    return meter.made(list(operations.elements(value))[::-1])


def to_list(meter: Meter, value: Any) -> list[Any]:
    """Returns a list of the elements, keys or characters."""
    elements = operations.elements(value)
    meter.work(len(elements))
    return meter.made(list(elements))


def items(meter: Meter, value: Any) -> list[list[Any]]:
    """Returns the pairs of key and value of an object."""
    if not isinstance(value, dict):
        raise template_error(f"An object is needed here; this is {type_name(value)}")
    return operations.items(meter, value)


def to_int(meter: Meter, value: Any, default: Any = 0, base: int = 10) -> Any:
    """Returns `value` as an integer, truncated toward zero; `default` if `value` is not a number."""
    try:
        if isinstance(value, str):
            return operations.number(int(_short(value), base) if base != 10 else _decimal(value))
        return operations.number(int(meter.read(value)))
    except (ValueError, TypeError, OverflowError):
        return default


def _decimal(value: str) -> int:
    try:
        return int(_short(value))
    except ValueError:
        return int(float(value))


def to_float(meter: Meter, value: Any, default: Any = 0.0) -> Any:
    """Returns `value` as a floating-point number; `default` if `value` is not a number."""
    try:
        return operations.number(float(_short(value) if isinstance(value, str) else meter.read(value)))
    except (ValueError, TypeError, OverflowError):
        return default


def _short(value: str) -> str:
    if len(value) > _MAX_NUMBER_TEXT:
        raise ValueError("too long for a number")
    return value


def to_string(meter: Meter, value: Any) -> str:
    """Returns a string unchanged, and any other value as JSON."""
    return meter.made(operations.text_of(meter, value))


def rounded(_: Meter, value: Any, precision: int = 0, method: str = "common") -> Any:
    """Returns `value` rounded to `precision` decimals; `method` is common, ceil or floor."""
    if not operations.is_number(value) or not isinstance(precision, int) or abs(precision) > _MAX_DECIMALS:
        raise template_error(f"round() takes a number, and at most {_MAX_DECIMALS} decimals")
    if method == "common":
        return operations.number(round(float(value), precision))
    if method not in ("ceil", "floor"):
        raise template_error("The method of round() is common, ceil or floor")
    scale = 10.0**precision
    return operations.number((math.ceil if method == "ceil" else math.floor)(value * scale) / scale)


def absolute(_: Meter, value: Any) -> Any:
    """Returns the absolute value of a number."""
    if not operations.is_number(value):
        raise template_error(f"abs takes a number; this is {type_name(value)}")
    return operations.number(abs(value))


def center(meter: Meter, value: Any, width: int = 80) -> str:
    """Returns the text centred in `width` characters."""
    meter.check_weight(width)
    return meter.made(operations.text_of(meter, value).center(width))


def indent(meter: Meter, value: Any, width: int = 4, first: bool = False, blank: bool = False) -> str:
    """Returns the text indented by `width` spaces; the first line only if `first` is true, empty lines only if `blank`
    is true."""
    text = operations.text_of(meter, value)
    meter.work(text.count("\n"))
    margin = " " * max(0, min(width, MAX_WEIGHT))

    def pieces() -> Iterator[str]:
        for index, line in enumerate(text.split("\n")):
            if index:
                yield "\n"
            yield margin if (index or first) and (line or blank) else ""
            yield line

    return operations.join_text(meter, pieces())


def replace(meter: Meter, value: Any, old: str, new: str, count: int | None = None) -> str:
    """Returns the text with `old` replaced by `new`, at most `count` times if it is given."""
    return operations.replace(meter, operations.text_of(meter, value), old, new, -1 if count is None else count)


def trim(meter: Meter, value: Any, chars: str | None = None) -> str:
    """Returns the text without white space, or without `chars`, at both ends."""
    return operations.strip(meter, operations.text_of(meter, value), chars)


def split(meter: Meter, value: Any, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """Returns the parts of the text between its separators (default: white space)."""
    return operations.split(meter, operations.text_of(meter, value), sep, maxsplit)


def printf(meter: Meter, value: Any, *args: Any) -> str:
    """Formats as printf in C does, with widths and decimals up to 1000: `"%s: %.2f"|format(name, price)`."""
    if not isinstance(value, str):
        raise template_error("format works on a string")
    meter.work(value.count("%") * 4)
    rest = iter(args)
    pieces = [_converted(meter, match, rest) for match in _PRINTF.finditer(meter.read(value))]
    return operations.join_text(meter, iter(pieces))


def _converted(meter: Meter, match: re.Match[str], args: Iterator[Any]) -> str:
    directive, (width, decimals, conversion) = match[0], match.groups()
    if not directive.startswith("%"):
        return directive
    if directive == "%%":
        return "%"
    if conversion is None or int(width or 0) > _MAX_WIDTH or int(decimals or 0) > _MAX_WIDTH:
        raise template_error("The format has a conversion that is not supported, or one wider than 1000")
    missing = StrictUndefined("The format has more conversions than arguments")
    value = next(args, missing)
    value = operations.text_of(meter, value) if conversion == "s" else meter.read(value)
    # The cost is paid here, because all pieces exist before `join_text` counts them.
    return meter.made(str(directive % value))


def _text_filter(name: str) -> Operation:
    method = operations.METHODS[name][str]

    def change(meter: Meter, value: Any) -> Any:
        return method(meter, operations.text_of(meter, value))

    return change


FILTERS: dict[str, Operation] = {
    "abs": absolute,
    "capitalize": _text_filter("capitalize"),
    "center": center,
    "count": length,
    "d": default,
    "default": default,
    "first": first,
    "float": to_float,
    "format": printf,
    "indent": indent,
    "int": to_int,
    "items": items,
    "join": join,
    "last": last,
    "length": length,
    "list": to_list,
    "lower": _text_filter("lower"),
    "map": mapped,
    "max": _extreme(max),
    "min": _extreme(min),
    "reject": _choice(keeps=False, by_attribute=False),
    "rejectattr": _choice(keeps=False, by_attribute=True),
    "replace": replace,
    "reverse": backward,
    "round": rounded,
    "select": _choice(keeps=True, by_attribute=False),
    "selectattr": _choice(keeps=True, by_attribute=True),
    "sort": ordered,
    "split": split,
    "string": to_string,
    "sum": total,
    "title": _text_filter("title"),
    "trim": trim,
    "unique": unique,
    "upper": _text_filter("upper"),
    **ENCODING_FILTERS,
    **DATE_FILTERS,
}


def _is(*types: type, but: type = Undefined) -> Operation:
    def decide(_: Meter, value: Any) -> bool:
        if isinstance(value, Undefined):
            str(value)
        return isinstance(value, types) and not isinstance(value, but)

    return decide


def _remainder(_: Meter, value: Any, divisor: Any, remainder: int) -> bool:
    if isinstance(value, int) and isinstance(divisor, int):
        return value % divisor == remainder
    raise template_error(f"A whole number is needed here; this is {type_name(value)}")


TESTS: dict[str, Operation] = {
    **operations.COMPARISONS,
    "==": operations.COMPARISONS["eq"],
    "!=": operations.COMPARISONS["ne"],
    "<": operations.COMPARISONS["lt"],
    "<=": operations.COMPARISONS["lteq"],
    ">": operations.COMPARISONS["gt"],
    ">=": operations.COMPARISONS["gteq"],
    "ge": operations.COMPARISONS["gteq"],
    "le": operations.COMPARISONS["lteq"],
    "equalto": operations.COMPARISONS["eq"],
    "boolean": _is(bool),
    "defined": lambda _, value: not isinstance(value, Undefined),
    "undefined": lambda _, value: isinstance(value, Undefined),
    "divisibleby": lambda meter, value, num: _remainder(meter, value, num, 0),
    "even": lambda meter, value: _remainder(meter, value, 2, 0),
    "odd": lambda meter, value: _remainder(meter, value, 2, 1),
    "true": lambda _, value: value is True,
    "false": lambda _, value: value is False,
    "none": _is(type(None)),
    "string": _is(str),
    "number": _is(int, float, but=bool),
    "integer": _is(int, but=bool),
    "float": _is(float),
    "mapping": _is(dict),
    "sequence": _is(list, str),
    "iterable": _is(list, str, dict),
}
