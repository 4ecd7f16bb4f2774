"""Calls a function's handler as the Python worker does: coroutines on the loop, plain functions in threads, in time."""

import asyncio
import functools
import logging
import os
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace

from shared.cli.host.app import LoadedFunction

logger = logging.getLogger("shared.host")

_invocation_storage = threading.local()


class TimedOutError(Exception):
    """The function ran past `functionTimeout`."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler gets in its `context` parameter; the names are the worker's."""

    function_name: str
    function_directory: str
    trace_context: SimpleNamespace
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    thread_local_storage: threading.local = _invocation_storage
    retry_context: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(retry_count=0, max_retry_count=0, exception=None)
    )


class Invoker:
    """Runs handlers within `timeout_seconds` each; None is no limit. A thread past its time can't be ended, only left."""

    def __init__(self, timeout_seconds: float | None) -> None:
        self._timeout_seconds = timeout_seconds
        threads = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT", "")
        self._executor = ThreadPoolExecutor(int(threads) if threads.isdigit() else None, thread_name_prefix="function")
        self._busy_threads = 0

    async def __call__(self, loaded: LoadedFunction, value: object, headers: Mapping[str, str] | None = None) -> object:
        """What the handler returns. Raises what it raises, and TimedOutError."""
        arguments = {loaded.function.trigger.parameter: value}
        if loaded.wants_context:
            arguments["context"] = _context(loaded, headers or {})
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                if loaded.is_async:
                    result: object = await loaded.handler(**arguments)
                else:
                    result = await self._in_thread(functools.partial(loaded.handler, **arguments))
        except TimeoutError:
            if limit.expired():
                raise TimedOutError(f"{loaded.function.name} ran for more than {self._timeout_seconds:g} s") from None
            raise
        return result

    def close(self) -> bool:
        """Take no more work; whether a thread is still in a handler, which keeps the process from ending by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        return self._busy_threads > 0

    async def _in_thread(self, call: functools.partial[object]) -> object:
        loop = asyncio.get_running_loop()
        self._busy_threads += 1
        future = self._executor.submit(call)
        future.add_done_callback(lambda _: self._release(loop))
        return await asyncio.wrap_future(future)

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._count_down)

    def _count_down(self) -> None:
        self._busy_threads -= 1


def _context(loaded: LoadedFunction, headers: Mapping[str, str]) -> Context:
    return Context(
        function_name=loaded.function.name,
        function_directory=str(loaded.script.parent),
        trace_context=SimpleNamespace(
            trace_parent=headers.get("traceparent", ""),
            Traceparent=headers.get("traceparent", ""),
            trace_state=headers.get("tracestate", ""),
            Tracestate=headers.get("tracestate", ""),
            attributes={},
        ),
    )
