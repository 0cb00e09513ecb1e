"""Threads of their own for kinds of work that may be slow."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


class WorkThreads:
    """Some threads for one kind of work. While all are busy, further work of this kind waits; other work does not."""

    def __init__(self, kind: str, num: int) -> None:
        self._pool = ThreadPoolExecutor(num, kind)

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of the work. If the caller is cancelled, work that has not begun is dropped."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments))
