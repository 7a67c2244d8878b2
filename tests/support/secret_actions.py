"""Actions that repeat the arguments that they get, for services in tests."""

import base64
import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from engine.actions import action
from engine.errors import StepError
from engine.steps import ThreadContext

received: list[str] = []
"""The values that the actions got."""


def forms(value: str) -> dict[str, str]:
    """Returns `value` in the forms in which programs repeat values."""
    content = value.encode()
    return {
        "plain": value,
        "quoted": quote(value),
        "quoted whole": quote(value, safe=""),
        "form": quote_plus(value),
        "lower": re.sub("%..", lambda escape: escape[0].lower(), quote(value, safe="")),
        "base64": base64.b64encode(content).decode(),
        "base64 url": base64.urlsafe_b64encode(content).decode(),
        "basic": base64.b64encode(b"user:" + content).decode(),
        "hex": content.hex(),
        "HEX": content.hex().upper(),
        "json": json.dumps(value),
        "json in json": json.dumps({"a": json.dumps({"b": value})}),
        "json unicode": json.dumps(value, ensure_ascii=False),
        "json in Python": repr({"a": json.dumps({"b": value})}),
        "json unicode in Python": repr([json.dumps(value, ensure_ascii=False)]),
        "Python in json": json.dumps({"a": repr([value])}),
        "json in bytes": repr(json.dumps(value, ensure_ascii=False).encode()),
        "repr": repr({"a": value}),
        "bytes": repr(content),
    }


@action("repeat.return")
def returned(ctx: ThreadContext, value: str) -> Any:
    """Returns, logs and stores the value, and logs it to the process."""
    received.append(value)
    for form in forms(value).values():
        ctx.log(f"got {form}!")
        logging.getLogger("actions").warning("got %s", form, extra={"field": form})
    file = ctx.store_file(f"{quote(value, safe='')}.txt", ("x" * 1_048_570 + "\n".join(forms(value).values())).encode())
    return {"file": file, "forms": forms(value), value: [value, {"nested": [value * 3]}]}


@action("repeat.raise")
def raised(ctx: ThreadContext, value: str) -> None:
    """Raises an error with the value, at a place where the message is cut, too."""
    received.append(value)
    raise ValueError(f"bad {forms(value)}" + "." * 1_500 + value * 100)


@dataclass
class Account:
    """An object that is written as JSON."""

    password: str


@action("repeat.details")
def detailed(ctx: ThreadContext, value: str) -> None:
    """Raises an error whose details have the value in an object."""
    raise StepError("REFUSED", "The account is locked.", details={"account": Account(value)}, retryable=False)


@action("repeat.run")
def run(ctx: ThreadContext, value: str) -> None:
    """Runs a program whose arguments hold the value, and which fails."""
    subprocess.run([sys.executable, "-c", "raise SystemExit(3)", value], check=True)


class UnprintableError(Exception):
    """An error that fails when its message is asked for."""

    def __str__(self) -> str:
        raise RuntimeError(f"no message for {self.args}")


@action("repeat.break")
def broken(ctx: ThreadContext, value: str) -> None:
    """Raises an error with the value, which cannot be printed, after another one that is logged with its trace."""
    received.append(value)
    try:
        int(value)
    except ValueError as error:
        logging.getLogger("actions").exception("failed with %s", value)
        raise UnprintableError(value) from error
