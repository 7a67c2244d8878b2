"""Dataloaders: what the fields of one level ask for is fetched by one statement.

A batch function of `db` takes keys and returns a mapping; a loader exists for each such function with its further
arguments, so fields that want the same columns share one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from strawberry.dataloader import DataLoader

from db.core.database import Database

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")

MAX_BATCH = 1_000
"""Keys in one statement: databases bound the parameters of a statement, SQLite at 32,766."""


class Loaders:
    """The dataloaders of one request, which sees each row once; a socket, which lives on, keeps none (`cache`)."""

    def __init__(self, database: Database, *, cache: bool = True) -> None:
        self._database = database
        self._cache = cache
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}

    async def load(
        self,
        batch: Callable[Concatenate[Any, Sequence[K], P], Mapping[K, V]],
        key: K,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> V | None:
        """What `batch` finds for `key`; None when it finds nothing. The further arguments must be hashable."""
        name = (batch, args, tuple(kwargs.items()))
        loader = self._loaders.get(name)
        if loader is None:
            loader = self._loaders[name] = self._loader(batch, args, kwargs)
        found: V | None = await loader.load(key)
        return found

    def _loader(self, batch: Callable[..., Mapping[Any, Any]], args: Any, kwargs: Any) -> DataLoader[Any, Any]:
        async def fetch(keys: list[Any]) -> list[Any]:
            found = await self._database.read(batch, keys, *args, **kwargs)
            return [found.get(key) for key in keys]

        return DataLoader(fetch, max_batch_size=MAX_BATCH, cache=self._cache)
