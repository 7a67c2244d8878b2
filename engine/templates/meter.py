"""What one render may cost, in work, in size and in processor time.

Rendering runs on the event loop, over data and templates that nobody vouches for. The bounds rest on three rules:

- Work that does not depend on data is paid in *steps*: the nodes of a template when it starts, and the nodes of a
  loop's body at each turn of it.
- A *weight* is about the length of a value as JSON. No value heavier than `MAX_WEIGHT` comes into being, so that
  whatever walks through one (comparing, sorting, writing it as JSON) is bounded too. A container's weight counts
  what it refers to as often as it refers to it: `[x, x]` made of `[y, y]` made of `[z, z]` costs no memory, but
  takes exponential time to compare.
- Operations pay the weight of what they read and make.

The processor time is a last wall behind these. It is that of the thread, not the time of day, so a busy machine does
not fail a render that is within its bounds.
"""

import time
from collections.abc import Iterable
from typing import Any, TypeVar

import orjson
from jinja2 import Undefined

from domain.json_codec import KIB, MAX_INPUT_BYTES
from engine.errors import StepError

MAX_STEPS = 200_000
"""Nodes evaluated, and elements visited by filters, in one render."""
MAX_WEIGHT = MAX_INPUT_BYTES
"""Of one value, and of all that a render gives back: what a step's input may have."""
MAX_TRAFFIC = 8 * 1024 * KIB
"""Weight that the operations of one render may read and make."""
MAX_CPU_SECONDS = 0.2

_SCALAR_WEIGHT = 4
_JSON_TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}

T = TypeVar("T")


def template_error(message: str) -> StepError:
    """The template does not go with its data."""
    return StepError("TEMPLATE_ERROR", message, retryable=False)


def limit_exceeded(message: str) -> StepError:
    """The template asks for more than a render may cost."""
    return StepError("TEMPLATE_LIMIT", message, retryable=False)


def type_name(value: Any) -> str:
    """What `value` is, in words for a message; an undefined one raises its own error."""
    if isinstance(value, Undefined):
        str(value)
    return "null" if value is None else _JSON_TYPES.get(type(value), "the loop itself")


class Meter:
    """Counts what a render costs, and stops it with TEMPLATE_LIMIT."""

    def __init__(self, outputs: Any) -> None:
        """`outputs` is the scope's `steps`: many values, each within the bound, but not their sum."""
        self._outputs = outputs
        self._steps = MAX_STEPS
        self._traffic = MAX_TRAFFIC
        self._deadline = time.thread_time() + MAX_CPU_SECONDS
        # The container is kept with its weight: its id must not go to another one.
        self._weights: dict[int, tuple[Any, int]] = {}

    def work(self, steps: int) -> None:
        """Pay for `steps` evaluations."""
        self._steps -= steps
        if self._steps < 0:
            raise limit_exceeded(f"The template takes more than {MAX_STEPS:,} steps.")
        if time.thread_time() > self._deadline:
            raise limit_exceeded(f"The template takes more than {MAX_CPU_SECONDS * 1000:.0f} ms.")

    def carry(self, weight: int) -> None:
        """Pay for reading or making `weight`."""
        self._traffic -= weight
        if self._traffic < 0:
            raise limit_exceeded(f"The template works through more than {MAX_TRAFFIC:,} characters.")
        self.work(1)

    def room(self, weight: int) -> None:
        """Check, before it is made, that something of this weight may be."""
        if weight > MAX_WEIGHT:
            raise limit_exceeded(f"A value would have more than {MAX_WEIGHT:,} characters.")

    def read(self, value: T) -> T:
        """`value`, paid for as something that is walked through."""
        self.carry(self.weigh(value))
        return value

    def made(self, value: T) -> T:
        """`value`, new and within bounds; its weight is known from now on."""
        if isinstance(value, list):
            self._register(value, value)
        elif isinstance(value, dict):
            self._register(value, [*value, *value.values()])
        else:
            self.room(self.weigh(value))
            self.read(value)
        return value

    def weigh(self, value: Any) -> int:
        """About the length of `value` as JSON."""
        if isinstance(value, str):
            return len(value) + 2
        if isinstance(value, list | dict):
            return self._weigh_container(value)
        if value is None or isinstance(value, int | float):
            return _SCALAR_WEIGHT
        raise template_error(f"This cannot be used as a value: it is {type_name(value)}")

    def _weigh_container(self, value: Any) -> int:
        known = self._weights.get(id(value))
        if known is not None:
            return known[1]
        if value is self._outputs:
            return self._register(value, value.values())
        # What a template makes is registered, so this is data: a tree, read from JSON of bounded length. Writing it
        # is thirty times as fast as walking through it.
        weight = len(orjson.dumps(value))
        self._weights[id(value)] = value, weight
        self.carry(weight)
        return weight

    def _register(self, container: Any, parts: Iterable[Any]) -> int:
        self.work(len(container))
        weight = 2
        for part in parts:
            weight += self.weigh(part) + 1
            self.room(weight)
        self._weights[id(container)] = container, weight
        self.carry(weight)
        return weight
