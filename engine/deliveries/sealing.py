"""The contexts in which secrets of endpoints and URLs of callbacks are encrypted: nothing of them ever changes."""

import base64
import os
from datetime import datetime
from uuid import UUID

from db.outbound_row_types import EndpointRow
from domain.outbound.delivery import SECRET_BYTES, SECRET_PREFIX
from engine.secrets.key_ring import KeyRing, Sealed


def endpoint_context(endpoint_id: UUID) -> str:
    """Returns the context of an endpoint's secret."""
    return f"endpoint {endpoint_id}"


def callback_context(run_id: UUID) -> str:
    """Returns the context of a run's callback URL."""
    return f"callback {run_id}"


def new_secret() -> str:
    """Returns a new random secret in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def secrets_of(endpoint: EndpointRow, keys: KeyRing, now: datetime) -> list[str]:
    """Returns the secrets that sign deliveries now: after a rotation also the earlier one, until the overlap ends.

    Raises:
        KeyLostError: a key is missing.
    """
    context = endpoint_context(endpoint.id)
    found = [keys.open(Sealed(endpoint.key_id, endpoint.sealed), context)]
    if endpoint.old_until is not None and now < endpoint.old_until:
        assert endpoint.old_key_id is not None  # set together
        assert endpoint.old_sealed is not None
        found.append(keys.open(Sealed(endpoint.old_key_id, endpoint.old_sealed), context))
    return found
