"""Python actions: functions of the operator that flows may call.

    from engine.actions import action

    @action
    def charge(amount: int, ctx: ThreadContext) -> dict:
        ctx.log(f"charging {amount}")
        return payments.charge(amount, key=ctx.idempotency_key)

A step names the action and its keyword arguments. A parameter called `ctx` receives the StepContext. Plain functions
run in threads and receive a ThreadContext; coroutine functions run on the event loop, which they must not block.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])


class PermanentError(Exception):
    """Raised by an action whose failure would repeat in every further attempt."""


class ActionLoadError(Exception):
    """The configured actions cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Action:
    """A registered function."""

    name: str
    function: Callable[..., Any]
    module: str
    """Module that defines the function."""
    signature: inspect.Signature

    @property
    def takes_context(self) -> bool:
        """True if the function has a parameter `ctx`."""
        return "ctx" in self.signature.parameters

    @property
    def is_coroutine(self) -> bool:
        """True if the function runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)


class ActionRegistry(Mapping[str, Action]):
    """The actions that flows may call, by name."""

    def __init__(self, actions: Sequence[Action] = ()) -> None:
        """
        Raises:
            ActionLoadError: two actions have the same name.
        """
        self._actions: dict[str, Action] = {}
        for new in actions:
            other = self._actions.setdefault(new.name, new)
            if other is not new:
                raise ActionLoadError(f"Two actions are called {new.name!r}: in {other.module} and in {new.module}")

    def __getitem__(self, name: str) -> Action:
        return self._actions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._actions)

    def __len__(self) -> int:
        return len(self._actions)


_declared: list[Action] = []
"""The actions of all imported modules, whether the operator listed them or not."""


@overload
def action(name: F, /) -> F: ...
@overload
def action(name: str, /) -> Callable[[F], F]: ...
def action(name: F | str, /) -> F | Callable[[F], F]:
    """Register the decorated function as an action under its own name or under `name`."""
    if not isinstance(name, str):
        return _declare(name, name.__name__)
    return lambda function: _declare(function, name)


def _declare(function: F, name: str) -> F:
    _declared.append(Action(name, function, function.__module__, inspect.signature(function)))
    return function


def load(modules: Sequence[str]) -> ActionRegistry:
    """Import `modules` and return their actions, with those of the submodules that they import.

    Raises:
        ActionLoadError: a module cannot be imported or has no action, or two actions have the same name.
    """
    return ActionRegistry([loaded for name in dict.fromkeys(modules) for loaded in _load(name)])


def _load(module: str) -> list[Action]:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # The module belongs to the operator and may raise anything: the message names the module.
        raise ActionLoadError(f"The actions in {module!r} cannot be imported: {error!r}") from error
    loaded = [known for known in _declared if known.module == module or known.module.startswith(f"{module}.")]
    if not loaded:
        raise ActionLoadError(f"There is no action in {module!r}: decorate its functions with engine.actions.action")
    return loaded
