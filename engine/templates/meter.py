"""The limits of one render: work, size of values, and processor time.

Renders run on the event loop, over untrusted data and templates. Three rules bound them:

- *Steps* measure work that does not depend on the size of values: a render pays for each node of the template when it
  starts, and for each node of a loop's body at each iteration.
- The *weight* of a value is approximately its length as JSON. No value heavier than `MAX_WEIGHT` is made, so the
  operations that traverse one (comparing, sorting, writing JSON) are bounded too. The weight of a container counts an
  element as often as the container refers to it: `[x, x]` where x is `[y, y]` where y is `[z, z]` costs no memory, but
  takes exponential time to compare.
- Operations pay the weight of the values that they read and make.

Processor time is the last line of defence. It is the time of the thread, not wall-clock time, so a busy machine does
not fail a render that is within its limits. README.md in this folder explains the design.
"""

import time
from collections.abc import Iterable
from typing import Any, TypeVar

import orjson
from jinja2 import Undefined

from domain.json_codec import KIB, MAX_INPUT_BYTES
from engine.errors import StepError

MAX_STEPS = 200_000
"""Largest number of steps of one render: evaluated nodes, and elements that filters visit."""
MAX_WEIGHT = MAX_INPUT_BYTES
"""Largest weight of one value and of the whole result of a render, in characters of JSON: the limit of a step's
input."""
MAX_TRAFFIC = 8 * 1024 * KIB
"""Largest total weight that the operations of one render may read and make."""
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
    """Returns the error of a template that cannot be rendered with its data."""
    return StepError("TEMPLATE_ERROR", message, retryable=False)


def limit_exceeded(message: str) -> StepError:
    """Returns the error of a render that exceeds a limit."""
    return StepError("TEMPLATE_LIMIT", message, retryable=False)


def type_name(value: Any) -> str:
    """Returns the JSON type of `value` for a message; raises the error of an undefined value."""
    if isinstance(value, Undefined):
        str(value)
    return (
        "null" if value is None else _JSON_TYPES.get(str if isinstance(value, str) else type(value), "the loop itself")
    )


class Meter:
    """Counts the cost of a render, and stops it with TEMPLATE_LIMIT at a limit."""

    def __init__(self, outputs: Any, marker: str | None = None) -> None:
        """`outputs` is the scope's `steps`: each output is within MAX_WEIGHT, but their sum may exceed it.

        `marker` marks references to secrets (`engine.secrets.placeholders`); None: templates cannot use secrets.
        """
        self.marker = marker
        self._outputs = outputs
        self._steps = MAX_STEPS
        self._traffic = MAX_TRAFFIC
        self._deadline = time.thread_time() + MAX_CPU_SECONDS
        # The entry keeps a reference to the container, so that no other container gets its id.
        self._weights: dict[int, tuple[Any, int]] = {}

    def work(self, steps: int) -> None:
        """Pays for `steps` evaluations."""
        self._steps -= steps
        if self._steps < 0:
            raise limit_exceeded(f"The template takes more than {MAX_STEPS:,} steps.")
        if time.thread_time() > self._deadline:
            raise limit_exceeded(f"The template takes more than {MAX_CPU_SECONDS * 1000:.0f} ms.")

    def add_traffic(self, weight: int) -> None:
        """Pays for reading or making values of this weight."""
        self._traffic -= weight
        if self._traffic < 0:
            raise limit_exceeded(f"The template reads and makes more than {MAX_TRAFFIC:,} characters.")
        self.work(1)

    def check_weight(self, weight: int) -> None:
        """Checks, before a value is made, that its weight is allowed."""
        if weight > MAX_WEIGHT:
            raise limit_exceeded(f"A value would have more than {MAX_WEIGHT:,} characters.")

    def read(self, value: T) -> T:
        """Returns `value`, and pays for traversing it."""
        self.add_traffic(self.weigh(value))
        return value

    def made(self, value: T) -> T:
        """Returns the new `value`; checks, pays and remembers its weight."""
        if isinstance(value, list):
            self._register(value, value)
        elif isinstance(value, dict):
            self._register(value, [*value, *value.values()])
        else:
            self.check_weight(self.weigh(value))
            self.read(value)
        return value

    def weigh(self, value: Any) -> int:
        """Returns the approximate length of `value` as JSON."""
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
        # Containers that a template makes are registered, so this one is data: a tree, read from JSON of bounded
        # length. Writing it as JSON is thirty times as fast as traversing it.
        weight = len(orjson.dumps(value))
        self._weights[id(value)] = value, weight
        self.add_traffic(weight)
        return weight

    def _register(self, container: Any, parts: Iterable[Any]) -> int:
        self.work(len(container))
        weight = 2
        for part in parts:
            weight += self.weigh(part) + 1
            self.check_weight(weight)
        self._weights[id(container)] = container, weight
        self.add_traffic(weight)
        return weight
