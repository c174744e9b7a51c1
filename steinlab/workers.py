"""Where work units run: in this process, in a pool of processes, or on a Dask cluster.

All three answer to :class:`concurrent.futures.Executor`; nothing else is asked of them. Each call
computes on one thread, so that its numbers do not depend on where it ran.
"""

import functools
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
)
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from typing import Any, TypeVar

from steinlab.errors import InputError, warn

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3
"""How often processes are started where they die, before that is an error."""

AUTO = 0
"""A number of processes: one for each core that this one may run on."""

CONNECT_SECONDS = 10
"""How long a Dask scheduler may take to answer."""


class SerialExecutor(Executor):
    """Run every call at once, in this process; an interrupt goes to whoever submitted it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn`` and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def number_of(workers: int) -> int:
    """Return how many processes a number of them stands for."""
    if workers != AUTO:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread() -> None:
    """Keep the BLAS libraries loaded so far to one thread: sums do not depend on their number."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


MALLOC = {-3: 2**25, -1: 2**31 - 1}
"""``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``mallopt``."""


def keep_memory() -> None:
    """Have glibc keep what arrays of up to 32 MiB free, for as long as the process lives.

    By default it hands arrays above 128 KiB back to the system, and every new one is then made of
    fresh pages, which took up to four times as long as what was computed in them.
    """
    import ctypes

    with suppress(AttributeError, OSError, TypeError):  # another C library has none, or no name
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in MALLOC.items():
            mallopt(name, value)


@contextmanager
def thread_limits() -> Iterator[None]:
    """Keep this process, and those that are started meanwhile, to one thread each.

    This process also keeps its memory (:func:`keep_memory`).
    """
    from threadpoolctl import threadpool_limits

    keep_memory()
    given = dict.fromkeys(THREAD_VARIABLES, "1")
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Pool(ProcessPoolExecutor):
    """A pool whose processes leave an interrupt to this one, which then ends them at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a process where one is missing, with interrupts blocked: it inherits that."""
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(fn, *args, **kwargs)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers(Executor):
    """Processes of this machine, started anew where one died; ``deaths`` counts how often."""

    def __init__(self, number: int) -> None:
        self.number, self.deaths = number, 0
        self._pool = self._new()

    def _new(self) -> _Pool:
        return _Pool(self.number, get_context("spawn"), initializer=_begin)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a call to a process."""
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenExecutor as error:
            self.renew(error)
            return self._pool.submit(fn, *args, **kwargs)

    def renew(self, error: BrokenExecutor) -> None:
        """Start the processes anew, unless that is done; raise the error the last time."""
        if not self._pool._broken:
            return
        self.deaths += 1
        if self.deaths == ATTEMPTS:
            raise error
        warn(f"a worker process died, {self.deaths} so far; what it was at runs again")
        self.shutdown(wait=False)
        self._pool = self._new()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the processes end."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the processes, whatever they are at."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()


class Cluster(Executor):
    """The workers of a Dask scheduler, which has the calls of one that died run again.

    ``deaths`` counts those that died in the middle of a call.
    """

    def __init__(self, client: Any) -> None:
        self.deaths = 0
        self._executor = client.get_executor(pure=False)
        client.subscribe_topic("all", self._heard)

    def _heard(self, event: tuple[float, Any]) -> None:
        _, told = event
        if isinstance(told, dict) and told.get("action") == "remove-worker":
            self.deaths += any(map(told.get, ("processing-tasks", "lost-computed-tasks")))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a call to the scheduler."""
        future: Future[Any] = self._executor.submit(_on_one_thread, fn, *args, **kwargs)
        return future


def _on_one_thread(fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    _settle()
    return fn(*args, **kwargs)


@functools.cache
def _settle() -> None:
    """Keep a process that others have started to one thread, libraries that it loads later too."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    one_thread()
    keep_memory()


def _begin() -> None:
    """Begin a worker process, which ends when the process that started it has ended."""
    one_thread()
    keep_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def executor_for(workers: int, scheduler: str | None = None) -> Iterator[Executor]:
    """Give the executor asked for; one worker stays in this process.

    An error, an interrupt for one, ends the processes without waiting for what they are at. How
    many workers died on the way is said on stderr at the end.

    Parameters
    ----------
    workers : int
        Processes of this machine, or :data:`AUTO`.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are used instead.

    Raises
    ------
    InputError
        If Dask is not installed or the scheduler does not answer.
    """
    if scheduler is not None:
        with _dask(scheduler) as cluster, _told(cluster):
            yield cluster
        return
    with thread_limits():
        if number_of(workers) == 1:
            yield SerialExecutor()
            return
        pool = Workers(number_of(workers))
        with _told(pool):
            try:
                yield pool
            except BaseException:
                pool.kill()
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _told(executor: Workers | Cluster) -> Iterator[None]:
    """Say at the end which workers died."""
    try:
        yield
    finally:
        if executor.deaths:
            died = "worker died and was" if executor.deaths == 1 else "workers died and were"
            told = f"{executor.deaths} {died} replaced; what was lost ran again"
            print(f"steinlab: {told}", file=sys.stderr)


@contextmanager
def _dask(scheduler: str) -> Iterator[Cluster]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"--scheduler needs the extra steinlab[dask], got {scheduler} without it"
        ) from None
    # another one fails too, half a minute later, and not in one line
    if not re.match(r"\w+://.|.+:\d+$", scheduler):
        raise InputError(f"--scheduler must be an address such as tcp://host:8786, got {scheduler}")
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = type(error).__name__
        raise InputError(
            f"--scheduler must be the address of a Dask scheduler that answers, got {scheduler}: "
            f"{reason}"
        ) from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # told below, in one line
    with client:
        try:
            yield Cluster(client)
            client.unsubscribe_topic("all")
        except CancelledError:
            raise InputError(
                f"--scheduler must answer until all is done, got {scheduler}, which ended"
            ) from None


def required(answer: R | Exception) -> R:
    """Return a job's result; raise its error."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def completed(
    executor: Executor, call: Callable[[T], R], jobs: Sequence[T]
) -> Iterator[tuple[T, R | Exception]]:
    """Run ``call`` on every job; yield jobs with their results or errors as they are finished.

    A job whose process died runs again.

    Raises
    ------
    BrokenExecutor
        If the processes die again and again; jobs not yielded are not done.
    """
    ahead = 1 if isinstance(executor, SerialExecutor) else len(jobs)
    left = list(reversed(jobs))
    running: dict[Future[R], T] = {}
    finished: SimpleQueue[Future[R]] = SimpleQueue()
    while left or running:
        while left and len(running) < ahead:
            job = left.pop()
            future = executor.submit(call, job)
            running[future] = job
            future.add_done_callback(finished.put)
        future = finished.get()
        job = running.pop(future)
        error = future.exception()
        if isinstance(error, BrokenExecutor) and isinstance(executor, Workers):
            executor.renew(error)
            left.append(job)
            continue
        if isinstance(error, BrokenExecutor) or not isinstance(error, Exception | None):
            raise error
        yield job, future.result() if error is None else error
