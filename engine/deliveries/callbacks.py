"""The callback of a run that is about to be created."""

from dataclasses import dataclass
from uuid import UUID

from db.core.unit_of_work import UnitOfWork
from db.deliveries import callbacks, endpoints
from domain.errors import CallbackEndpointMissingError, SecretKeysMissingError
from domain.outbound.delivery import callback_lane
from engine.deliveries.sealing import callback_context
from engine.secrets.key_ring import KeyRing, NoKeyError


@dataclass(frozen=True, slots=True)
class RunCallback:
    """The URL to which the events of a new run are sent."""

    url: str
    keys: KeyRing
    """Encrypt the URL: it may hold a token."""

    def add(self, uow: UnitOfWork, run_id: UUID, project_id: UUID) -> None:
        """Stores the URL for a run that the transaction has created.

        Raises:
            CallbackEndpointMissingError: the project has no secret that signs callbacks.
            SecretKeysMissingError: the service has no key.
        """
        if endpoints.of_callbacks(uow.conn, project_id) is None:
            raise CallbackEndpointMissingError
        try:
            sealed = self.keys.seal(self.url, callback_context(run_id))
        except NoKeyError:
            raise SecretKeysMissingError from None
        lane = callback_lane(project_id, self.url)
        row = {"run_id": run_id, "project_id": project_id, "key_id": sealed.key_id, "sealed": sealed.text, "lane": lane}
        callbacks.add(uow, row)
