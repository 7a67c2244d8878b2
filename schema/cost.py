"""Limits of one document: its size, its depth, and its cost, which is the number of fields times page sizes."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    value_from_ast_untyped,
)

from domain.enums import RunStatus
from domain.errors import QueryTooComplexError
from domain.time.time_buckets import MAX_BUCKETS
from resolvers.flow_runs.stats import DEFAULT_ERRORS, DEFAULT_FAILING_STEPS, DEFAULT_GROUPS
from resolvers.queue.queues import DEFAULT_QUEUES
from schema.relay.connection import DEFAULT_PAGE, MAX_PAGE
from schema.selected_fields import by_response_key, fields_of, sets_below

MAX_TOKENS = 4_000
"""Largest number of tokens in a document: names, values and punctuation."""
MAX_DEPTH = 15
"""Largest number of levels of nested fields. Introspection, which GraphiQL uses, is exempt."""
MAX_COST = 500_000
"""Largest number of fields in a response. A page of 1,000 runs with 30 fields and 100 steps each costs 300,000."""
MAX_FIELDS = 2_000
"""Largest number of fields in one operation, merged as in its response: a field that several fragments select in one
place counts once."""
MAX_SELECTED = 20_000
"""Largest number of fields in one operation before they are merged: a fragment counts wherever it is spread. Counting
as many takes 20 ms."""
SCAN_COST = 20_000
"""The cost of a statistic that reads all runs of a filter. One query can have two dozen of them."""
FLOW_SCAN_COST = 200
"""The cost of a statistic over the runs of one flow: the statistics of all flows of a page are read together."""
FILTER_COST = 500
"""The cost of each filter in the `not` and `or` of a filter, and of each condition on metadata: each is compared with
every run that is read. One filter can have 50 of each."""
STEPS_ASSUMED = 10
"""Assumed length of a list without pages, such as the steps of a run."""

MAX_PAIRS = 50_000
"""Largest number of pairs of fields with the same name in the same place. Validation compares each pair, which takes 10
µs."""
_MAX_VALIDATED_DEPTH = 30
"""Largest depth of a document that is validated. Introspection, which is exempt from MAX_DEPTH, has about 15 levels."""

_PICKERS = {"tags", "failedSteps", "errorCodes", "sources", "metadataKeys", "metadataValues"}
"""The lists of `Pickers`. Other fields of these names have no selections."""
_COMPARED = {"input", "output", "metadata", "definition"}
"""The differences of documents, of a page size. Other fields of these names have no selections."""
_PAGED = {
    *_PICKERS,
    *_COMPARED,
    "flows",
    "flowRuns",
    "versions",
    "projects",
    "endpoints",
    "deliveries",
    "alerts",
    "notifications",
    "groupBy",
    "failures",
    "runs",
    "childRuns",
    "retries",
    "bulkOperations",
    "outcomes",
    "logs",
    "topFailingSteps",
    "errors",
    "workers",
    "queues",
}
_ROOT_PAGED = {"inputRequests"}
"""Fields with pages at the root that elsewhere are lists without pages."""
_LISTS = {
    "inputRequests",
    "files",
    "steps",
    "statusHistory",
    "attempts",
    "retryability",
    "schedules",
    "webhooks",
    "secrets",
    "savedViews",
    "sample",
    "ineligible",
    "reasons",
}
_SIZES = {"byStatus": len(RunStatus), "timeBuckets": MAX_BUCKETS, "series": MAX_BUCKETS}
_DEFAULTS = {
    **dict.fromkeys(_PICKERS, DEFAULT_GROUPS),
    "topFailingSteps": DEFAULT_FAILING_STEPS,
    "errors": DEFAULT_ERRORS,
    "groupBy": DEFAULT_GROUPS,
    "failures": DEFAULT_GROUPS,
    "queues": DEFAULT_QUEUES,
}
_SCANNING = {
    *_PICKERS,
    "flowRunStats",
    "flowRunStatsChanged",
    "durations",
    "timeBuckets",
    "topFailingSteps",
    "groupBy",
    "failures",
    "queues",
}
_OF_FLOW = "stats"
"""The field of a flow whose statistics cover only that flow."""
_INTROSPECTED = {"types": 100, "fields": 10, "args": 4, "inputFields": 10, "enumValues": 10, "possibleTypes": 10}


def check(document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any]) -> int:
    """Checks that an operation of the document is within the limits; returns its cost.

    Raises:
        QueryTooComplexError: the operation exceeds a limit.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return sum(
        _CostCalculator(fragments, {**_defaults(node), **variables}).cost([node.selection_set], depth=1, scan=SCAN_COST)
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode) and operation_name in (None, node.name and node.name.value)
    )


def signature(variables: Mapping[str, Any]) -> Hashable:
    """Returns what the cost of an operation depends on of its variables: with equal signatures it is the same."""
    return tuple((name, _sized(value)) for name, value in variables.items())


def _sized(value: Any) -> Hashable:
    """Returns what a page size, a list of IDs, a filter or a part of a filter adds to the cost."""
    if isinstance(value, dict):
        return "filter", _number_of_parts(value)
    if isinstance(value, list):
        return "list", len(value), sum(map(_number_of_parts, value))
    return ("size", int(value)) if isinstance(value, int) else value is None


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value is not None
    }


class RepeatedNames(ASTValidationRule):
    """Refuses a document that repeats fields too often, before the validation rules that would be slow on it."""

    def enter_document(self, document: DocumentNode, *_: Any) -> None:
        fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode):
                _Merger(fragments).check([node.selection_set], depth=1)


class _Merger:
    """Merges the selections of one operation, as validation and execution do, and counts fields with the same name."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._selected = 0
        self._pairs = 0
        self._merged = 0

    def check(self, sets: list[SelectionSetNode], depth: int) -> None:
        """Checks that no field in `sets`, or below them, is repeated too often."""
        if depth > _MAX_VALIDATED_DEPTH:
            # A fragment that spreads itself ends here too.
            raise QueryTooComplexError(
                f"The query has more than {MAX_DEPTH} levels of nested fields. Select fewer levels."
            )
        groups = by_response_key(self._counted(fields_of(self._fragments, sets)))
        self._merged += len(groups)
        self._pairs += sum(len(group) * (len(group) - 1) // 2 for group in groups.values())
        if self._merged > MAX_FIELDS:
            raise QueryTooComplexError(f"The query selects more than {MAX_FIELDS:,} fields. Select fewer fields.")
        if self._pairs > MAX_PAIRS:
            name, most = max(((name, len(group)) for name, group in groups.items()), key=lambda pair: pair[1])
            raise QueryTooComplexError(
                f"The query repeats fields too often: it selects `{name}` {most} times in one place. Select it once."
            )
        for group in groups.values():
            if below := sets_below(group):
                self.check(below, depth + 1)

    def _counted(self, fields: Iterable[FieldNode]) -> Iterator[FieldNode]:
        for field in fields:
            self._selected += 1
            if self._selected > MAX_SELECTED:
                raise QueryTooComplexError(
                    f"The query selects more than {MAX_SELECTED:,} fields before they are merged. Select fewer."
                )
            yield field


class _CostCalculator:
    """Adds up the cost of one operation, and stops as soon as a limit is exceeded."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: dict[str, Any]) -> None:
        self._fragments = fragments
        self._variables = variables
        self._fields = 0

    def cost(self, sets: Sequence[SelectionSetNode], depth: float, scan: int) -> int:
        """Returns the cost of the selections `sets` of one object, which are merged; they are at `depth`.

        `scan` is the cost of a statistic.
        """
        if depth > MAX_DEPTH:
            raise QueryTooComplexError(
                f"The query has more than {MAX_DEPTH} levels of nested fields. Select fewer levels."
            )
        merged = by_response_key(fields_of(self._fragments, sets))
        total = sum(self._field_cost(group, depth, scan) for group in merged.values())
        if total > MAX_COST:
            raise QueryTooComplexError(
                f"The query can return more than {MAX_COST:,} fields. Ask for smaller pages or fewer fields."
            )
        return total

    def _field_cost(self, group: Sequence[FieldNode], depth: float, scan: int) -> int:
        field = group[0]  # The others have the same name and arguments, or validation has refused the document.
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise QueryTooComplexError(f"The query selects more than {MAX_FIELDS:,} fields. Select fewer fields.")
        below = sets_below(group)
        if not below:
            return 1
        deeper = -math.inf if field.name.value.startswith("__") else depth + 1
        own_scan = scan if field.name.value in _SCANNING else 0
        scan = FLOW_SCAN_COST if field.name.value == _OF_FLOW else scan
        parts: int = sum(
            _number_of_parts(value_from_ast_untyped(argument.value, self._variables))
            for argument in field.arguments or ()
            if argument.name.value == "filter"
        )
        return 1 + own_scan + FILTER_COST * parts + self._multiplier(field, deeper) * self.cost(below, deeper, scan)

    def _multiplier(self, field: FieldNode, depth: float) -> int:
        if depth == -math.inf:
            return _INTROSPECTED.get(field.name.value, 1)
        is_page = field.name.value in _PAGED or (depth == 2 and field.name.value in _ROOT_PAGED)
        if field.name.value in _LISTS and not is_page:
            return STEPS_ASSUMED
        if field.name.value in _SIZES:
            return _SIZES[field.name.value]
        if field.name.value == "nodes" and field.arguments:
            return self._number_of_ids(field.arguments[0].value)
        if not is_page:
            return 1
        sizes = [
            self._page_size(argument.value)
            for argument in field.arguments or ()
            if argument.name.value in {"first", "last"}
        ]
        return max((size for size in sizes if size is not None), default=_DEFAULTS.get(field.name.value, DEFAULT_PAGE))

    def _number_of_ids(self, argument: Any) -> int:
        if isinstance(argument, VariableNode):
            ids = self._variables.get(argument.name.value)
        else:
            ids = getattr(argument, "values", ())
        return max(len(ids), 1) if isinstance(ids, list | tuple) else 1

    def _page_size(self, argument: Any) -> int | None:
        size = None
        if isinstance(argument, VariableNode):
            size = self._variables.get(argument.name.value)
        elif isinstance(argument, IntValueNode):
            size = int(argument.value)
        # The resolver refuses a size that is out of range, with a message of its own. A page of size 0 has a count.
        return min(max(size, 1), MAX_PAGE) if isinstance(size, int) else None


def _number_of_parts(filter_: Any) -> int:
    """Returns the number of filters within a filter, on all levels, and of their conditions on metadata."""
    parts, pending = 0, [filter_]
    while pending:
        value = pending.pop()
        if not isinstance(value, dict):
            continue  # The resolver refuses this value.
        inner = [part for name in ("not", "or") for part in _as_list(value.get(name))]
        parts += len(inner) + len(_as_list(value.get("metadataConditions")))
        pending += inner
    return parts


def _as_list(value: Any) -> list[Any]:
    """Returns the values of an argument that is a list. A single value stands for a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]
