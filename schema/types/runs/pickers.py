"""The values from which a person chooses those of a filter."""

from collections.abc import Sequence
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db.runs.statistics import pickers
from db.runs.statistics.pickers import SAMPLE, Picker, ValueCounts
from live.stats_feed import Statistics
from resolvers.flow_runs.stats import DEFAULT_GROUPS, MAX_GROUPS, checked_size
from schema.arguments import argument
from schema.fields import field
from schema.inputs.filters import checked_path, checked_text
from schema.scalars import raw_json

Prefix = Annotated[
    str,
    argument(
        "Only values that begin with this text. Upper and lower case of the letters A to Z are equal. Default: all."
    ),
]
First = Annotated[int, argument(f"The number of values, 1 to {MAX_GROUPS}.")]
KeysPath = Annotated[
    str | None,
    argument("The path of an object in the metadata, such as `customer`. Default: the metadata itself."),
]
ValuePath = Annotated[str, argument("The path of the value, such as `customer.id`: see `MetadataCondition.path`.")]


@strawberry.type(description="A value that runs have.")
class PickerValue:
    """A value that runs have."""

    value: str = strawberry.field(description="The value, as a filter takes it.")
    count: int = strawberry.field(description="Number of runs that have it.")


@strawberry.type(description="A value in the metadata of runs.")
class PickerMetadataValue:
    """A value in the metadata of runs."""

    value: JSON = strawberry.field(description="The string, number or boolean.")
    count: int = strawberry.field(description="Number of runs that have it.")


_EXACT = (
    "True if all runs that match the filter were counted; false if the counts are those of the newest"
    f" {SAMPLE:,} such runs."
)


@strawberry.type(description="The most frequent values of runs, the most frequent first.")
class PickerValues:
    """The most frequent values of runs."""

    values: list[PickerValue] = strawberry.field(description="The values.")
    is_exact: bool = strawberry.field(description=_EXACT)


@strawberry.type(description="The most frequent values at one path of the metadata, the most frequent first.")
class PickerMetadataValues:
    """The most frequent values at one path of the metadata."""

    values: list[PickerMetadataValue] = strawberry.field(description="The values.")
    is_exact: bool = strawberry.field(description=_EXACT)


@strawberry.type(
    description="Values that the runs of a filter have, for the choices of a filter bar. Each list reads at most"
    f" {SAMPLE:,} runs, the newest that match."
)
class Pickers:
    """Values that the runs of a filter have."""

    statistics: strawberry.Private[Statistics]

    @field("Tags.")
    async def tags(self, prefix: Prefix = "", first: First = DEFAULT_GROUPS) -> PickerValues:
        return _texts(await self._values(Picker.TAG, prefix, first))

    @field(
        "Names of steps at which runs failed. All runs are counted if kept counts answer the filter: see"
        " `flowRunStats.topFailingSteps`."
    )
    async def failed_steps(self, prefix: Prefix = "", first: First = DEFAULT_GROUPS) -> PickerValues:
        return _texts(await self._values(Picker.FAILED_STEP, prefix, first))

    @field("Codes of the errors with which runs failed.")
    async def error_codes(self, prefix: Prefix = "", first: First = DEFAULT_GROUPS) -> PickerValues:
        return _texts(await self._values(Picker.ERROR_CODE, prefix, first))

    @field("Sources: see `FlowRun.source`.")
    async def sources(self, prefix: Prefix = "", first: First = DEFAULT_GROUPS) -> PickerValues:
        return _texts(await self._values(Picker.SOURCE, prefix, first))

    @field("Keys of the metadata, or of an object in it.")
    async def metadata_keys(
        self, path: KeysPath = None, prefix: Prefix = "", first: First = DEFAULT_GROUPS
    ) -> PickerValues:
        keys = checked_path(path) if path is not None else ()
        return _texts(await self._values(Picker.METADATA_KEY, prefix, first, keys))

    @field("Strings, numbers and booleans at a path of the metadata.")
    async def metadata_values(
        self, path: ValuePath, prefix: Prefix = "", first: First = DEFAULT_GROUPS
    ) -> PickerMetadataValues:
        found = await self._values(Picker.METADATA_VALUE, prefix, first, checked_path(path))
        values = [PickerMetadataValue(value=raw_json(value), count=runs) for value, runs in found.values]
        return PickerMetadataValues(values=values, is_exact=found.is_exact)

    async def _values(self, picker: Picker, prefix: str, first: int, path: Sequence[str] = ()) -> ValueCounts:
        limit = checked_size("first", first, MAX_GROUPS)
        return await self.statistics.part(pickers.values, picker, tuple(path), checked_text("prefix", prefix), limit)


def _texts(found: ValueCounts) -> PickerValues:
    values = [PickerValue(value=value, count=runs) for value, runs in found.values]
    return PickerValues(values=values, is_exact=found.is_exact)
