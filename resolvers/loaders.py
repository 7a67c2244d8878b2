"""Dataloaders: each field on one level of a query is fetched by one statement.

A batch function of `db` takes keys and returns a mapping. There is one loader for each batch function with its further
arguments, so that fields which read the same columns share it.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from strawberry.dataloader import DataLoader

from db.core.database import Database
from domain.errors import DeletedWhileReadError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")

MAX_BATCH = 1_000
"""Largest number of keys in one statement: databases limit the parameters of a statement, SQLite to 32,766."""


class Loaders:
    """The dataloaders of one request.

    With `cache`, the request sees each row once. The operations of a socket share a context that outlives each of them,
    so its loaders cache nothing.
    """

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
        """Returns the value of `key` in the result of `batch`, or None. The further arguments must be hashable."""
        name = (batch, args, tuple(kwargs.items()))
        loader = self._loaders.get(name)
        if loader is None:
            loader = self._loaders[name] = self._loader(batch, args, kwargs)
        # Fields that load the same row await one future. When graphql-core cancels one of them, because another field
        # of its object failed, the others need it still.
        value: V | None = await asyncio.shield(loader.load(key))
        return value

    async def load_existing(
        self,
        batch: Callable[Concatenate[Any, Sequence[K], P], Mapping[K, V]],
        key: K,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> V:
        """Returns the value of `key`, which a row of the database names.

        Raises:
            DeletedWhileReadError: it was deleted after that row was read.
        """
        value = await self.load(batch, key, *args, **kwargs)
        if value is None:
            raise DeletedWhileReadError
        return value

    async def load_written(
        self,
        batch: Callable[Concatenate[Any, Sequence[K], P], Mapping[K, V]],
        key: K,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> V:
        """Returns the value of `key`, which a mutation has just written."""
        self.clear()
        return await self.load_existing(batch, key, *args, **kwargs)

    def clear(self) -> None:
        """Forgets the rows that the request has read, so that the next load reads them again."""
        self._loaders.clear()

    def _loader(self, batch: Callable[..., Mapping[Any, Any]], args: Any, kwargs: Any) -> DataLoader[Any, Any]:
        async def fetch(keys: list[Any]) -> list[Any]:
            values = await self._database.read(batch, keys, *args, **kwargs)
            return [values.get(key) for key in keys]

        return DataLoader(fetch, max_batch_size=MAX_BATCH, cache=self._cache)
