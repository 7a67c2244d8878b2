"""Python actions: functions of the operator's that flows may call.

    from engine.actions import action

    @action
    def charge(amount: int, ctx: ThreadContext) -> dict:
        ctx.log(f"charging {amount}")
        return payments.charge(amount, key=ctx.idempotency_key)

A step names the action and its keyword arguments. A parameter called `ctx` gets the StepContext. Plain functions run
in threads, and get a ThreadContext; coroutine functions run on the event loop, which they must not block.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])


class PermanentError(Exception):
    """Raised by an action that failed in a way that another try cannot mend."""


class ActionLoadError(Exception):
    """The operator's actions cannot be used as they are configured."""


@dataclass(frozen=True, slots=True)
class Action:
    """A registered function."""

    name: str
    function: Callable[..., Any]
    module: str
    """Where it is defined."""
    signature: inspect.Signature

    @property
    def wants_context(self) -> bool:
        """Whether it has a parameter `ctx`."""
        return "ctx" in self.signature.parameters

    @property
    def is_coroutine(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)


class ActionRegistry(Mapping[str, Action]):
    """The actions that flows may call, by name."""

    def __init__(self, actions: Sequence[Action] = ()) -> None:
        """
        Raises:
            ActionLoadError: two actions have one name.
        """
        self._actions: dict[str, Action] = {}
        for each in actions:
            other = self._actions.setdefault(each.name, each)
            if other is not each:
                raise ActionLoadError(f"Two actions are called {each.name!r}: in {other.module} and in {each.module}")

    def __getitem__(self, name: str) -> Action:
        return self._actions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._actions)

    def __len__(self) -> int:
        return len(self._actions)


_declared: list[Action] = []
"""Every action of the modules imported until now, whether the operator named them or not."""


@overload
def action(name: F, /) -> F: ...
@overload
def action(name: str, /) -> Callable[[F], F]: ...
def action(name: F | str, /) -> F | Callable[[F], F]:
    """Make the decorated function an action, called like the function or by the name given."""
    if not isinstance(name, str):
        return _declare(name, name.__name__)
    return lambda function: _declare(function, name)


def _declare(function: F, name: str) -> F:
    _declared.append(Action(name, function, function.__module__, inspect.signature(function)))
    return function


def load(modules: Sequence[str]) -> ActionRegistry:
    """The actions in `modules`, which are imported, and in their submodules as far as these import them.

    Raises:
        ActionLoadError: a module cannot be imported, has no action, or two actions have one name.
    """
    return ActionRegistry([each for name in dict.fromkeys(modules) for each in _load(name)])


def _load(module: str) -> list[Action]:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # The module is the operator's: whatever it does when imported, the message names it.
        raise ActionLoadError(f"The actions in {module!r} cannot be imported: {error!r}") from error
    found = [each for each in _declared if each.module == module or each.module.startswith(f"{module}.")]
    if not found:
        raise ActionLoadError(f"There is no action in {module!r}: decorate its functions with engine.actions.action")
    return found
