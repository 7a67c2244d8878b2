"""The executor of the general path: graphql-core's, which completes long lists of plain objects at once."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from graphql import GraphQLObjectType, GraphQLOutputType, GraphQLResolveInfo, get_named_type
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from resolvers.context import Context
from schema.compiled_selection import item_completer
from schema.types.column_list import ColumnList, Fields, UnwritableError

_LONG = 16
"""Items from which on a list is long: for fewer, to compile their selection takes longer than it saves."""


class FlowRunsExecutor(StrawberryGraphQLCoreExecutionContext):
    """Completes the items of a long list, such as log lines, by a selection that is compiled for the list.

    That takes a tenth of the time. If a field waits for a loader, has arguments or fails, graphql-core completes them.
    A list of columns, such as time buckets, is written as JSON text.
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
        if info.context.compiles and isinstance(items, ColumnList):
            try:
                return self._written(item_type, field_details_list, items)
            except UnwritableError:
                pass
        elif info.context.compiles and isinstance(items, list | tuple) and len(items) >= _LONG:
            complete = item_completer(self, item_type, [details.node for details in field_details_list])
            if complete is not None:
                try:
                    return [complete(item) for item in items]
                except Exception:  # noqa: S110 - graphql-core meets it again, and says where
                    pass
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)

    def _written(
        self, item_type: GraphQLOutputType, field_details_list: Any, items: ColumnList[Any]
    ) -> orjson.Fragment:
        columns: list[Sequence[object]] = []
        template = self._template(item_type, field_details_list, items.fields, columns)
        return orjson.Fragment(items.written(template, columns))

    def _template(
        self, output: GraphQLOutputType, field_details_list: Any, fields: Fields, columns: list[Sequence[object]]
    ) -> str:
        """Returns the JSON of an object with `%s` for each value; the columns of the values are added to `columns`."""
        named = get_named_type(output)
        assert isinstance(named, GraphQLObjectType)
        members = []
        for key, selected in self.collect_subfields(named, field_details_list).grouped_field_set.items():
            name = selected[0].node.name.value
            match f'"{named.name}"' if name == "__typename" else fields[name]:
                case str(text):
                    pass
                case [*objects]:
                    below = named.fields[name].type
                    text = f"[{','.join(self._template(below, selected, each, columns) for each in objects)}]"
                case values:
                    text = "%s"
                    columns.append(values())
            members.append(f'"{key}":{text}')
        return f"{{{','.join(members)}}}"
