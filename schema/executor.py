"""The executor of the general path: graphql-core's, which completes long lists of plain objects at once."""

from collections.abc import Iterable
from typing import Any

from graphql import GraphQLOutputType, GraphQLResolveInfo
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from resolvers.context import Context
from schema.compiled_selection import item_completer

_LONG = 16
"""Items from which on a list is long: for fewer, to compile their selection takes longer than it saves."""


class FlowRunsExecutor(StrawberryGraphQLCoreExecutionContext):
    """Completes the items of a long list, such as time buckets, by a selection that is compiled for the list.

    That takes a tenth of the time. If a field waits for a loader, has arguments or fails, graphql-core completes them.
    """

    def complete_iterable_value(
        self,
        item_type: GraphQLOutputType,
        field_details_list: Any,
        info: GraphQLResolveInfo[Context],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> Any:
        """Returns the completed items, or what completes them when it is awaited."""
        if info.context.compiles and isinstance(items, list | tuple) and len(items) >= _LONG:
            complete = item_completer(self, item_type, [details.node for details in field_details_list])
            if complete is not None:
                try:
                    return [complete(item) for item in items]
                except Exception:  # noqa: S110 - graphql-core meets it again, and says where
                    pass
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)
