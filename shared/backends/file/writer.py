"""The thread that writes: it takes what tasks have handed in, commits it as one group, and answers all of it."""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.backends.file.directory import translated_errors
from shared.backends.file.group import SEGMENTS_AT_ONCE, Group
from shared.backends.file.index import Segment
from shared.backends.file.maintenance import compact, is_mostly_dead
from shared.backends.file.store import Store, index_is_broken
from shared.errors import ServiceError
from shared.models import MODELS, Record

logger = logging.getLogger(__name__)

_GROUP_LIMIT = 4_096
_LINES_BETWEEN_FOLDS = 500

T = TypeVar("T")
Work = Callable[[Group], Any]


@dataclass(slots=True)
class _Job:
    """Work for a group, or, where `alone`, work that needs the lock to itself and no group."""

    work: Callable[[Any], Any]
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    alone: bool
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Owns the writing thread of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._descriptors: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._dirty: list[Segment] = []
        self._unfolded = 0
        self._thread = threading.Thread(target=self._run, name="file-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Work) -> Any:
        """What `work` returns, once the group it became part of lasts."""
        return await self._hand_in(work, alone=False)

    async def submit_alone(self, work: Callable[[], Any]) -> Any:
        """What `work` returns; it runs under the lock, between groups."""
        return await self._hand_in(lambda _: work(), alone=True)

    async def _hand_in(self, work: Callable[[Any], Any], *, alone: bool) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future(), loop, alone)
        self._jobs.put(job)
        return await job.future

    def close(self) -> None:
        """Finish what was handed in and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = self._take()
            stopping = None in jobs
            self._serve([job for job in jobs if job is not None])
        self._close_descriptors()

    def _take(self) -> list[_Job | None]:
        jobs = [self._jobs.get()]
        while len(jobs) < _GROUP_LIMIT:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _serve(self, jobs: list[_Job]) -> None:
        together: list[_Job] = []
        for job in jobs:
            if job.alone:
                self._settle(together, self._commit)
                self._settle([job], self._alone)
                together = []
            else:
                together.append(job)
        self._settle(together, self._commit)
        self._tidy()

    def _tidy(self) -> None:
        """Fold the index's log, and compact what the last groups have left mostly dead; nobody waits for it."""
        if self._unfolded >= _LINES_BETWEEN_FOLDS:
            self._unfolded = 0
            try:
                with translated_errors():
                    self._store.index().fold_log()
            except ServiceError as error:
                logger.warning("folding the index's log failed", extra={"cause": error.message})
        worth, self._dirty = [segment for segment in self._dirty if is_mostly_dead(segment)], []
        for segment in worth:
            try:
                with translated_errors(), self._store.directory.lock.hold():
                    self._close_descriptors()
                    compact(self._store, MODELS[segment.model], segment.day)
            except ServiceError as error:
                logger.warning("compaction failed", extra={"segment": segment.name, "cause": error.message})

    def _settle(self, jobs: list[_Job], run: Callable[[list[_Job]], None]) -> None:
        if not jobs:
            return
        try:
            with translated_errors(), self._store.directory.lock.hold():
                run(jobs)
        except ServiceError as error:
            _fail(jobs, error)
        except Exception as error:
            logger.exception("a group of writes failed")
            _fail(jobs, error)
        for loop in {job.loop for job in jobs}:
            answered = [job for job in jobs if job.loop is loop]
            try:
                loop.call_soon_threadsafe(_answer, answered)
            except RuntimeError:
                logger.warning("an answer came after its event loop had closed", extra={"writes": len(answered)})

    def _alone(self, jobs: list[_Job]) -> None:
        [job] = jobs
        self._close_descriptors()
        try:
            job.result = self._mending(lambda: job.work(None))
        finally:
            self._store.forget_segments()

    def _commit(self, jobs: list[_Job]) -> None:
        self._mending(self._store.recover)
        group = self._mending(lambda: self._decide(jobs))
        if group.is_empty:
            return
        try:
            group.write(self._opened, lambda: self._close_descriptors(keep=SEGMENTS_AT_ONCE))
        except OSError:
            self._close_descriptors()
            raise
        try:
            self._dirty += group.index()
            self._unfolded += group.line_count
        except sqlite3.DatabaseError as error:
            if not index_is_broken(error):
                raise
            self._store.rebuild(str(error))

    def _decide(self, jobs: list[_Job]) -> Group:
        group = Group(self._store, self._store.index())
        for job in jobs:
            job.error = None
            try:
                job.result = job.work(group)
            except ServiceError as error:
                job.error = error
        return group

    def _mending(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if not index_is_broken(error):
                raise
            self._store.rebuild(str(error))
            return work()

    def _opened(self, model: type[Record], day: str) -> int:
        place = (model.__name__, day)
        directory = self._store.directory
        path = directory.segment_path(*place)
        descriptor = self._descriptors.pop(place, None)
        if descriptor is not None:
            try:
                same = path.stat().st_ino == os.fstat(descriptor).st_ino
            except FileNotFoundError:
                same = False
            if not same:
                os.close(descriptor)
                descriptor = None
        if descriptor is None:
            directory.disk.make_directory(path.parent)
            descriptor = directory.disk.open_append(path)
        self._descriptors[place] = descriptor
        return descriptor

    def _close_descriptors(self, keep: int = 0) -> None:
        while len(self._descriptors) > keep:
            _, descriptor = self._descriptors.popitem(last=False)
            os.close(descriptor)


def _fail(jobs: list[_Job], error: BaseException) -> None:
    for job in jobs:
        job.error = error


def _answer(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
