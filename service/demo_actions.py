"""The Python actions that the demo flows call. They need no network."""

from typing import Any

from engine.actions import action
from engine.errors import StepError


@action("demo.charge_card")
def charge_card(*, amount: float, run_attempt: int) -> dict[str, Any]:
    """Charge a card. The payment provider is down until a run is retried."""
    if run_attempt == 1:
        raise StepError("PROVIDER_DOWN", "The payment provider answered 503. Retry the run from its failed step.")
    return {"charged": amount, "receipt": f"rcpt-{run_attempt:04d}"}
