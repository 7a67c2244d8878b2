"""Statistics over the runs of a flow, read for all flows of a request at once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from db.runs.statistics import flow_stats, stats
from domain.runs.run_filter import RunFilter
from live.stats_feed import Statistics
from resolvers.context import Context

_OF_FLOWS: dict[Callable[..., Any], tuple[Callable[..., Any], Callable[[], Any]]] = {
    stats.counts: (flow_stats.counts, dict),
    stats.counts_by_time: (flow_stats.counts_by_time, dict),
    stats.durations: (flow_stats.durations, lambda: None),
    stats.failures: (flow_stats.failures, list),
}
"""For each part of the statistics: its batch function over flows, and its value for a flow without runs."""


class FlowStatistics(Statistics):
    """Statistics over the runs of a flow that match a scoped filter."""

    def __init__(self, context: Context, flow_id: UUID, where: RunFilter) -> None:
        is_allowed = where.flow_ids is None or flow_id in where.flow_ids
        super().__init__(context.database, replace(where, flow_ids=[flow_id] if is_allowed else []))
        self._load = context.loaders.load
        self._flow_id = flow_id
        self._where = where

    async def _read(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if query is stats.errors_by_failures:
            keys, limit = args
            found = await asyncio.gather(*(self._load(flow_stats.errors, key, self._where, limit) for key in keys))
            return dict(zip(keys, (errors or () for errors in found), strict=True))
        if query not in _OF_FLOWS:
            return await super()._read(query, *args, **kwargs)
        batch, of_none = _OF_FLOWS[query]
        part = await self._load(batch, self._flow_id, self._where, *args)
        return of_none() if part is None else part
