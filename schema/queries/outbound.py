"""Queries of endpoints, deliveries and alerts."""

from typing import Annotated

import strawberry

from resolvers.outbound import alerts, deliveries, endpoints
from schema.fields import Info, field
from schema.inputs.outbound import DeliveryFilter
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.types.outbound.alert import Alert
from schema.types.outbound.endpoint import Delivery, Endpoint


@strawberry.type(description="Queries of what is sent to other systems.")
class OutboundQuery:
    """The queries of what is sent to other systems, a part of the root type."""

    @field("The endpoints that the key sees, newest first. Needs the role ADMIN.")
    async def endpoints(
        self,
        info: Info,
        enabled: Annotated[
            bool | None,
            strawberry.argument(description="True: only endpoints that get events; false: the others. Default: all."),
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Endpoint]:
        source = endpoints.list_of(info.context, enabled)
        return await connect(info, Endpoint, source, PageArguments(first, after, last, before))

    @field("The alerts that the key sees, newest first. Needs the role ADMIN.")
    async def alerts(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Alert]:
        source = alerts.list_of(info.context)
        return await connect(info, Alert, source, PageArguments(first, after, last, before))

    @field("The log of deliveries, newest first. Needs the role ADMIN.")
    async def deliveries(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 - the name of the argument
            DeliveryFilter | None,
            strawberry.argument(description="Which deliveries. By default all that the key sees."),
        ] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Delivery]:
        source = deliveries.list_of(info.context, (filter or DeliveryFilter()).to_domain())
        return await connect(info, Delivery, source, PageArguments(first, after, last, before))
