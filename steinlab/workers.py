"""Where work units run: in this process, in a pool of processes, or on a Dask cluster.

All three answer to :class:`concurrent.futures.Executor`; nothing else is asked of them.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
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


MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""Has glibc keep what arrays of up to 32 MiB free: page faults took a tenth of a ledger's time."""


@contextmanager
def thread_limits() -> Iterator[None]:
    """Have processes started meanwhile load their BLAS libraries with one thread each."""
    given = dict.fromkeys(THREAD_VARIABLES, "1") | MEMORY
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
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


def _begin() -> None:
    """Begin a worker process, which ends when the process that started it has ended."""
    one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def executor_for(workers: int, scheduler: str | None = None) -> Iterator[Executor]:
    """Give the executor asked for; one worker stays in this process.

    An error, an interrupt for one, ends the processes without waiting for what they are at.

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
        with _dask(scheduler) as executor:
            yield executor
    elif number_of(workers) == 1:
        yield SerialExecutor()
    else:
        with thread_limits():
            pool = Workers(number_of(workers))
            try:
                yield pool
            except BaseException:
                pool.kill()
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _dask(scheduler: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"--scheduler needs the extra steinlab[dask], got {scheduler} without it"
        ) from None
    if ":" not in scheduler:
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
            yield client.get_executor(pure=False)
        except CancelledError:
            raise InputError(
                f"--scheduler must answer until all is done, got {scheduler}, which ended"
            ) from None


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
    while left or running:
        while left and len(running) < ahead:
            job = left.pop()
            running[executor.submit(call, job)] = job
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            job = running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenExecutor) and isinstance(executor, Workers):
                executor.renew(error)
                left.append(job)
                continue
            if isinstance(error, BrokenExecutor) or not isinstance(error, Exception | None):
                raise error
            yield job, future.result() if error is None else error
