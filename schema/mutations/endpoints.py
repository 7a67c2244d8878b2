"""Mutations of endpoints and deliveries."""

from typing import Annotated
from uuid import UUID

import strawberry

from db.deliveries import endpoints as db_endpoints
from db.deliveries import log
from domain.errors import (
    DeliveryNotEndedError,
    DeliveryNotFoundError,
    EndpointInvalidError,
    EndpointNotFoundError,
    ProjectNotFoundError,
    ProjectRequiredError,
    SecretKeysMissingError,
)
from resolvers.outbound import deliveries, endpoints
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.inputs.outbound import CreateEndpointInput, DeliveryFilter, UpdateEndpointInput
from schema.mutations.declaration import mutation, result, success
from schema.types.outbound.endpoint import Delivery, Endpoint

_ISSUED = (
    "The new secret, `whsec_…`, by which the receiver verifies signatures. It is returned only here: it is stored"
    " encrypted."
)


@success
class CreateEndpointSuccess:
    """The endpoint was created."""

    endpoint: Endpoint = strawberry.field(description="The new endpoint.")
    secret: str = strawberry.field(description=_ISSUED)


@success
class UpdateEndpointSuccess:
    """The endpoint was changed."""

    endpoint: Endpoint = strawberry.field(description="The changed endpoint.")


@success
class RotateEndpointSecretSuccess:
    """The endpoint has a new secret."""

    endpoint: Endpoint = strawberry.field(description="The changed endpoint.")
    secret: str = strawberry.field(description=_ISSUED)


@success
class DeleteEndpointSuccess:
    """The endpoint was deleted."""

    endpoint_id: strawberry.ID = strawberry.field(description="The ID of the deleted endpoint.")


@success
class TestEndpointSuccess:
    """The test is being sent."""

    delivery: Delivery = strawberry.field(description="The delivery of the test. Its attempts have the result.")


@success
class RedeliverSuccess:
    """The delivery is being sent again."""

    delivery: Delivery = strawberry.field(description="The delivery, which is PENDING.")


@success
class RedeliverAllSuccess:
    """Deliveries are being sent again."""

    count: int = strawberry.field(description="Number of deliveries that are PENDING again.")


CreateEndpointResult = Annotated[
    CreateEndpointSuccess | EndpointInvalidError | SecretKeysMissingError | ProjectRequiredError | ProjectNotFoundError,
    result("CreateEndpointResult", "The new endpoint, or an error that says why it was not created."),
]
UpdateEndpointResult = Annotated[
    UpdateEndpointSuccess | EndpointNotFoundError | EndpointInvalidError | SecretKeysMissingError,
    result("UpdateEndpointResult", "The changed endpoint, or an error that says why it was not changed."),
]
RotateEndpointSecretResult = Annotated[
    RotateEndpointSecretSuccess | EndpointNotFoundError | SecretKeysMissingError,
    result("RotateEndpointSecretResult", "The new secret, or an error that says why there is none."),
]
DeleteEndpointResult = Annotated[
    DeleteEndpointSuccess | EndpointNotFoundError,
    result("DeleteEndpointResult", "The ID of the endpoint, or an error that says why it was not deleted."),
]
TestEndpointResult = Annotated[
    TestEndpointSuccess | EndpointNotFoundError | EndpointInvalidError,
    result("TestEndpointResult", "The delivery of the test, or an error that says why none is sent."),
]
RedeliverResult = Annotated[
    RedeliverSuccess | DeliveryNotFoundError | DeliveryNotEndedError,
    result("RedeliverResult", "The delivery, or an error that says why it is not sent again."),
]
RedeliverAllResult = Annotated[
    RedeliverAllSuccess | EndpointNotFoundError,
    result("RedeliverAllResult", "The number of deliveries, or an error that says why none is sent again."),
]


@strawberry.type(description="Mutations of endpoints and deliveries.")
class EndpointMutation:
    """The mutations of endpoints and deliveries, a part of the root type."""

    @mutation(
        Role.ADMIN,
        "Creates an endpoint: a URL of another system to which the service sends the events of some runs, from now on.",
    )
    async def create_endpoint(
        self,
        info: Info,
        input: Annotated[CreateEndpointInput, argument("The endpoint to create.")],  # noqa: A002
    ) -> CreateEndpointResult:
        issued = await endpoints.create(info.context, input.project_id, input.columns())
        return CreateEndpointSuccess(endpoint=await _load_endpoint(info, issued.endpoint_id), secret=issued.secret)

    @mutation(Role.ADMIN, "Changes, enables or disables an endpoint.")
    async def update_endpoint(
        self,
        info: Info,
        input: Annotated[UpdateEndpointInput, argument("The endpoint and its changes.")],  # noqa: A002
    ) -> UpdateEndpointResult:
        endpoint_id = await endpoints.update(info.context, input.id, input.columns())
        return UpdateEndpointSuccess(endpoint=await _load_endpoint(info, endpoint_id))

    @mutation(
        Role.ADMIN,
        "Gives an endpoint a new secret. For the time of `overlap` deliveries have two signatures, by the new and by"
        " the previous secret, so that the receiver can change over without a gap.",
    )
    async def rotate_endpoint_secret(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The endpoint.")],  # noqa: A002
        overlap: Annotated[
            str,
            argument("How long the previous secret signs too: a duration in ISO 8601, `PT0S` for not at all."),
        ] = endpoints.DEFAULT_OVERLAP,
    ) -> RotateEndpointSecretResult:
        issued = await endpoints.rotate(info.context, id, overlap)
        endpoint = await _load_endpoint(info, issued.endpoint_id)
        return RotateEndpointSecretSuccess(endpoint=endpoint, secret=issued.secret)

    @mutation(
        Role.ADMIN,
        "Deletes an endpoint. What was not delivered is cancelled; the log of deliveries stays until its retention"
        " ends.",
    )
    async def delete_endpoint(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The endpoint to delete.")],  # noqa: A002
    ) -> DeleteEndpointResult:
        await endpoints.remove(info.context, id)
        return DeleteEndpointSuccess(endpoint_id=id)

    @mutation(Role.ADMIN, "Sends an event of the kind TEST to an endpoint.")
    async def test_endpoint(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The endpoint.")],  # noqa: A002
    ) -> TestEndpointResult:
        return TestEndpointSuccess(delivery=await _load_delivery(info, await endpoints.test(info.context, id)))

    @mutation(
        Role.ADMIN,
        "Sends a delivery again, under the same `webhook-id` and with the run as it is now. It is tried for three"
        " days.",
    )
    async def redeliver(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The delivery.")],  # noqa: A002
    ) -> RedeliverResult:
        return RedeliverSuccess(delivery=await _load_delivery(info, await deliveries.redeliver(info.context, id)))

    @mutation(Role.ADMIN, "Sends the deliveries to an endpoint again that match a filter.")
    async def redeliver_all(
        self,
        info: Info,
        endpoint_id: Annotated[strawberry.ID, argument("The endpoint.")],
        filter: Annotated[  # noqa: A002 - the name of the argument
            DeliveryFilter | None,
            argument("Which deliveries. Without `statuses`, those that FAILED. What is PENDING or CANCELLED stays."),
        ] = None,
    ) -> RedeliverAllResult:
        where = (filter or DeliveryFilter()).to_domain()
        return RedeliverAllSuccess(count=await deliveries.redeliver_all(info.context, endpoint_id, where))


async def _load_endpoint(info: Info, endpoint_id: UUID) -> Endpoint:
    columns = columns_of(info, Endpoint, "endpoint")
    return Endpoint(row=await info.context.loaders.load_written(db_endpoints.by_ids, endpoint_id, columns))


async def _load_delivery(info: Info, delivery_id: UUID) -> Delivery:
    columns = columns_of(info, Delivery, "delivery")
    return Delivery(row=await info.context.loaders.load_written(log.by_ids, delivery_id, columns))
