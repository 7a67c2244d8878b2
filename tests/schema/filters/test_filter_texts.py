"""Texts in filters: what no stored text can hold finds nothing or is refused, in every filter."""

from graphql import GraphQLInputObjectType, GraphQLSchema, get_named_type

from schema.build import build_schema
from tests.support.app import App


def text_fields(schema: GraphQLSchema) -> list[str]:
    """Returns a query for each text in the filter of each list."""
    assert schema.query_type is not None
    found = []
    for name, declared in schema.query_type.fields.items():
        filter_type = get_named_type(declared.args["filter"].type) if "filter" in declared.args else None
        is_list = get_named_type(declared.type).name.endswith("Connection")
        if not is_list or not isinstance(filter_type, GraphQLInputObjectType):
            continue
        for field, value in filter_type.fields.items():
            if get_named_type(value.type).name == "String":
                found.append(f'{{ {name}(filter: {{{field}: "\\u0000"}}) {{ totalCount nodes {{ __typename }} }} }}')
    return found


async def test_character_that_no_text_can_have_is_refused_everywhere(idle_app: App) -> None:
    queries = text_fields(build_schema()._schema)
    assert len(queries) > 10
    codes = {query: await idle_app.error_code(query) for query in queries}
    assert {query: code for query, code in codes.items() if code != "INVALID_ARGUMENT"} == {}


async def test_lists_of_audit_events_are_bounded(idle_app: App) -> None:
    for field, value in (("requestIds", "x"), ("actorIds", f"key_{'0' * 32}"), ("objectIds", f"run_{'0' * 32}")):
        kind = "String" if field == "requestIds" else "ID"
        text = f"query($values: [{kind}!]) {{ auditEvents(filter: {{{field}: $values}}) {{ totalCount }} }}"
        assert await idle_app.error_code(text, {"values": [value] * 1_001}) == "INVALID_ARGUMENT"
        assert (await idle_app.query(text, {"values": [value] * 1_000}))["auditEvents"] == {"totalCount": 0}
