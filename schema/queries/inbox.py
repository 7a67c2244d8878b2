"""Queries of input requests over all runs."""

from typing import Annotated

import strawberry

from resolvers import inbox
from resolvers.context import Context
from resolvers.lists import TextRowList
from schema.enums import OrderDirection
from schema.fields import Info, field
from schema.inputs.input_requests import InputRequestFilter
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.types.input_request import InputRequest

RequestsFilter = Annotated[
    InputRequestFilter | None,
    strawberry.argument(description="The requests to return. Default: all that the key can see, in any status."),
]
Direction = Annotated[
    OrderDirection, strawberry.argument(description="The order by creation. Default: the newest first.")
]


@strawberry.type(description="Queries of input requests.")
class InboxQuery:
    """Queries of input requests, a part of the root type."""

    @field("The inbox: input requests of all runs. Default order: the newest first.")
    async def input_requests(
        self,
        info: Info,
        filter: RequestsFilter = None,  # noqa: A002
        direction: Direction = OrderDirection.DESC,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[InputRequest]:
        source = input_request_list(info.context, filter, direction)
        return await connect(info, InputRequest, source, PageArguments(first, after, last, before))


def input_request_list(
    context: Context,
    filter: InputRequestFilter | None = None,  # noqa: A002 - the name of the argument
    direction: OrderDirection = OrderDirection.DESC,
) -> TextRowList:
    """Returns the input requests for the arguments of `inputRequests`.

    Raises:
        InvalidIdError, InvalidArgumentError: the filter is invalid.
    """
    where = (filter or InputRequestFilter()).to_domain()
    return inbox.list_of(context, where, descending=direction is OrderDirection.DESC)
