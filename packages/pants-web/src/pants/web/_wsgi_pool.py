"""Threads, started as there is something to do, and a bounded queue of jobs in front of them."""

from __future__ import annotations

import _thread
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from typing import Final, Protocol
from weakref import WeakSet

log = logging.getLogger("pants.web.wsgi")

# Seconds after which a thread with nothing to do ends.
IDLE_TIME: Final = 30.0
# The most threads that wait for clients to take what there is, and do not count. Where there are more, and jobs wait,
# the one that has waited longer than so many seconds looks after its client.
MOST_STALLED: Final = 64
PATIENCE: Final = 5.0


class Job(Protocol):
    """What a thread does."""

    def run(self) -> None:
        """Do it; whatever goes wrong is the job's own business."""

    def look_at_client(self) -> None:
        """Others need the thread: cut the client off, if it takes nothing. Called in any thread."""


class Worker:
    """A thread, while it waits for a job."""

    __slots__ = ("gate", "job")

    def __init__(self) -> None:
        self.gate = _thread.allocate_lock()  # which whoever gives it a job opens
        self.gate.acquire()
        self.job: Job | None = None


class ThreadPool:
    """Some threads, which are daemons and do not keep the process from ending. In a forked child there are none.

    One that waits for a client does not count, and another one runs in its place, so that clients which take nothing
    do not keep others waiting. When it is to go on, it waits until it counts again.

    Args:
        threads: The most threads that run at once.
        max_waiting: The most jobs that wait for one.
        name: What the threads are called.
    """

    def __init__(self, threads: int, max_waiting: int, name: str) -> None:
        self.threads = threads
        self.max_waiting = max_waiting
        self.name = name
        _pools.add(self)
        self.start_anew()

    def start_anew(self) -> None:
        """Forget all threads and jobs."""
        self._lock = threading.Lock()
        self._running = 0  # threads that there are
        self._busy = 0  # those of them that have a job, and count
        self._idle: list[Worker] = []  # the one that was busy last is the first to be so again
        self._waiting: OrderedDict[Job, None] = OrderedDict()
        self._stalled: OrderedDict[Job, float] = OrderedDict()  # and since when, on the clock of `time.monotonic`
        self._returning: deque[_thread.LockType] = deque()  # what those wait for that were stalled

    def submit(self, job: Job) -> bool:
        """Have a job done, by a thread that is free or the next one that is; tell whether there was room for it."""
        with self._lock:
            if self._busy < self.threads and not self._waiting and self._give(job):
                return True
            if not self._running or len(self._waiting) >= self.max_waiting:
                return False
            self._waiting[job] = None
            self._fill()
            return True

    def _give(self, job: Job) -> bool:
        """Give a job to a thread, and tell whether there was one."""
        if self._idle:
            worker = self._idle.pop()
            worker.job = job
            worker.gate.release()
        elif not self._start_thread(job):
            return False
        self._busy += 1
        return True

    def _fill(self) -> None:
        """Have those run that wait, as long as there is room."""
        while self._busy < self.threads:
            if self._returning:
                self._busy += 1
                self._returning.popleft().release()
            elif self._waiting and self._give(next(iter(self._waiting))):
                self._waiting.popitem(last=False)
            else:
                return

    def _start_thread(self, job: Job) -> bool:
        worker = Worker()
        worker.job = job
        thread = threading.Thread(target=self._work, args=(worker,), name=self.name, daemon=True)
        self._running += 1
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more of them
            self._running -= 1
            log.warning("%s has %d threads, and gets no other: %s", self.name, self._running, error)
            return False
        return True

    def stall(self, job: Job) -> None:
        """The thread of a job waits for a client."""
        with self._lock:
            self._stalled[job] = time.monotonic()
            if len(self._stalled) <= MOST_STALLED:
                self._busy -= 1
                self._fill()

    def go_on(self, job: Job) -> None:
        """The thread of a job waits no more for a client; this waits until there is room for it."""
        with self._lock:
            del self._stalled[job]
            if len(self._stalled) >= MOST_STALLED:
                return  # another one does not count in its place
            if self._busy < self.threads:
                self._busy += 1
                return
            gate = _thread.allocate_lock()
            gate.acquire()
            self._returning.append(gate)
        gate.acquire()

    def relieve(self) -> None:
        """Have a client looked after that has been waited for, if jobs wait for want of its thread."""
        with self._lock:
            self._fill()
            if not self._waiting or self._busy < self.threads or len(self._stalled) <= MOST_STALLED:
                return
            job, since = next(iter(self._stalled.items()))
            now = time.monotonic()
            if now - since < PATIENCE:
                return
            self._stalled[job] = now
            self._stalled.move_to_end(job)
        job.look_at_client()

    def is_waiting(self, job: Job) -> bool:
        """Whether a job has not begun."""
        return job in self._waiting

    def discard(self, job: Job) -> bool:
        """Have a job not done, if it has not begun; tell whether that is so."""
        with self._lock:
            return self._waiting.pop(job, job) is None

    def _work(self, worker: Worker) -> None:
        while (job := worker.job) is not None:
            worker.job = None
            try:
                job.run()
            except BaseException:  # which would leave the others waiting for this thread
                log.exception("%r failed", job)
            del job
            with self._lock:
                self._busy -= 1
                self._idle.append(worker)
                self._fill()
            if not worker.gate.acquire(timeout=IDLE_TIME):
                self._retire(worker)

    def _retire(self, worker: Worker) -> None:
        """End a thread that has waited for long, unless it was given a job this moment."""
        with self._lock:
            if worker.job is None:
                self._idle.remove(worker)
                self._running -= 1
                return
        worker.gate.acquire()


_pools: WeakSet[ThreadPool] = WeakSet()


def _start_anew() -> None:
    """A forked child has none of its parent's threads, and locks that nobody will open."""
    for pool in list(_pools):
        pool.start_anew()


os.register_at_fork(after_in_child=_start_anew)
