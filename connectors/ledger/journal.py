"""Runs ledger operations one at a time in a thread of their own, several to a commit.

A commit costs a disk flush. Operations that wait at the same moment share one, and none of their callers goes
on before it is through: an intent is as durable as if it had been committed alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from connectors.ledger.store import Ledger
from schemas.errors import ConnectionLost

P = ParamSpec("P")
T = TypeVar("T")
_Waiting = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Journal:
    """An async door to a ledger. Call it with an operation; it returns once the operation is committed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `operation` on the ledger; its changes are committed when this returns.

        Raises:
            StorageError: this operation, or the commit it shared, failed; nothing of it is stored.
            ConnectionLost: the database went away; it may be stored or not.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((partial(operation, *args, **kwargs), done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        # A cancelled caller must not cancel what others share: the operation still happens.
        result: T = await asyncio.shield(done)
        return result

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await loop.run_in_executor(self._thread, self._commit, [one for one, _ in batch])
            except Exception as error:  # noqa: BLE001  the thread is gone: nobody must wait for it for ever
                results = [error] * len(batch)
            for (_, done), result in zip(batch, results, strict=True):
                if done.cancelled():
                    continue
                if isinstance(result, BaseException):
                    done.set_exception(result)
                    done.exception()  # seen: a caller that went away must not leave a warning behind
                else:
                    done.set_result(result)

    def _commit(self, operations: list[Callable[[], Any]]) -> list[Any]:
        try:
            with self._ledger.together():
                return [operation() for operation in operations]
        except ConnectionLost as error:
            # They may be stored: done once more, they might be there twice.
            return [error] * len(operations)
        except Exception as error:  # noqa: BLE001  handed to every caller: none of the operations is stored
            if len(operations) == 1:
                return [error]
        # One of several failed and took the others with it: each gets a commit of its own.
        return [result for operation in operations for result in self._commit([operation])]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            await asyncio.wait([self._worker])
        self._thread.shutdown(wait=True)
