"""One BLAS thread for the emulator's many small products, Python threads for pieces of a batch.

A BLAS with threads of its own hands each product to all of them and waits for the last. That costs
more than it gains where a product takes microseconds, and ruins it where a core is busy. So BLAS is
held to one thread while the emulator runs, and a large batch is shared out among threads of Python:
NumPy and BLAS let go of the interpreter's lock.
"""

from __future__ import annotations

import _thread
import contextvars
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Generic, TypeVar

from hwsim.errors import HwsimError

T = TypeVar("T")
ENVIRONMENT = "HWSIM_NUM_THREADS"
MOST_THREADS = 8  # more would wait for the interpreter's lock
FEWEST_CHUNKS = 8  # a smaller batch is done before another thread is of much help
LARGEST_CHUNKS = 2  # of one piece: fewer steps wait for the lock, and the cache still helps


class Blas:
    """The BLAS libraries of this process, held to one thread while anybody is inside.

    The first to enter notes their numbers of threads and the last to leave brings them back, since
    the number is the library's; where OpenMP runs the threads it is the calling thread's own.
    """

    def __init__(self, libraries: Sequence[Any]) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: list[int] = []
        self._own = [lib for lib in libraries if _by_openmp(lib)]
        self._shared = [lib for lib in libraries if not _by_openmp(lib)]

    def one_thread(self) -> OneThread:
        """Inside, products are computed by the thread that asks; gives the number outside."""
        return OneThread(self)

    def enter(self) -> list[int]:
        """What `OneThread` does first; gives the calling thread's own numbers."""
        with self._lock:
            if not self._inside:
                self._before = _limit(self._shared)
            self._inside += 1
        return self.one_thread_here()

    def leave(self, own: Sequence[int]) -> None:
        """What `OneThread` does last."""
        _restore(self._own, own)
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _restore(self._shared, self._before)

    def one_thread_here(self) -> list[int]:
        """The same for a thread that ends before those inside leave; gives its own numbers."""
        return _limit(self._own) if self._own else []

    def outside(self, own: Sequence[int]) -> int:
        """The number of threads that every library may have outside."""
        return min([*self._before, *own], default=1)


class OneThread:
    """A `with` block in which BLAS has one thread, in a microsecond or four."""

    __slots__ = ("_blas", "_own")

    def __init__(self, blas: Blas) -> None:
        self._blas = blas

    def __enter__(self) -> int:
        self._own = self._blas.enter()
        return self._blas.outside(self._own)

    def __exit__(self, *_: object) -> None:
        self._blas.leave(self._own)


def _by_openmp(library: Any) -> bool:
    return getattr(library, "threading_layer", None) == "openmp"


def _limit(libraries: Sequence[Any]) -> list[int]:
    """Hold libraries to one thread; gives the numbers before."""
    before = [library.num_threads for library in libraries]
    for library, count in zip(libraries, before, strict=True):
        if count != 1:
            _set(library, 1)
    return before


def _restore(libraries: Sequence[Any], counts: Sequence[int]) -> None:
    """Give numbers of threads back; what was 1 was never changed."""
    for library, count in zip(libraries, counts, strict=True):
        if count != 1:
            _set(library, count)


def _set(library: Any, count: int) -> None:
    library.set_num_threads(count)
    # threadpoolctl 3.7 on lets nobody else set it until the thread that did is done.
    done = getattr(library, "clear_controlling_thread", None)
    if done is not None:
        done()


@cache
def blas() -> Blas:
    """The libraries loaded at the first call, when NumPy's is.

    Without threadpoolctl none is held: the integers are the same, and BLAS may get in the way.
    """
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return Blas([])
    return Blas(ThreadpoolController().select(user_api="blas").lib_controllers)


os.register_at_fork(after_in_child=blas.cache_clear)  # its lock may be held at that moment


def most_threads(allowed: int) -> int:
    """Threads for one batch: what the user says, or as many as BLAS may use and cores are free to.

    Raises HwsimError where the environment variable is not a whole number of 1 or more.
    """
    text = os.environ.get(ENVIRONMENT)
    if text is None:
        return min(allowed, len(os.sched_getaffinity(0)), MOST_THREADS)
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise HwsimError(f"{ENVIRONMENT} must be a whole number of 1 or more, not {text!r}")
    return int(text)


def in_pieces(run: Callable[[slice], T], count: int, chunk: int) -> list[T]:
    """`run` of consecutive slices of `count` samples, in order, each a chunk long or two.

    Threads share the slices out where there are many. What `run` raises for the earliest slice is
    raised here.
    """
    with blas().one_thread() as allowed:
        threads = most_threads(allowed)  # asked first: a wrong number is said for any batch
        if threads > 1 and count >= FEWEST_CHUNKS * chunk:
            return _Shared(run, count, chunk, threads).results()
        starts = range(0, max(count, 1), chunk)
        return [run(slice(at, min(at + chunk, count))) for at in starts]


def spare_cores() -> int:
    """Cores less threads that run at this moment, of all processes; all where it is not told."""
    cores = os.cpu_count() or 1
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return cores - int(file.read().split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return cores


class _Shared(Generic[T]):
    """One batch, done by the caller's thread and by helpers as long as there are cores for them.

    The caller waits for a helper's piece no longer than its own last one took, then does it as
    well, so that a helper whose core is taken away holds nobody up.
    """

    def __init__(self, run: Callable[[slice], T], count: int, chunk: int, threads: int) -> None:
        self._run, self._count, self._chunk, self._threads = run, count, chunk, threads
        self._lock, self._left = threading.Lock(), threading.Semaphore(0)
        self._helpers, self._next = 0, 0
        self._taken: list[slice] = []
        self._done: dict[int, T] = {}  # by first sample
        self._failed: dict[int, Exception] = {}

    def results(self) -> list[T]:
        """Those of all pieces, in order."""
        try:
            patience = self._work(self._ask_for_help) + time.perf_counter()
            while len(self._done) < len(self._taken) and not self._failed:
                if not self._left.acquire(timeout=max(patience - time.perf_counter(), 0)):
                    break
        finally:
            with self._lock:
                self._next = self._count
        for piece in self._taken:
            if piece.start in self._failed:
                raise self._failed[piece.start]
            if piece.start not in self._done:
                self._done[piece.start] = self._run(piece)
        return [self._done[piece.start] for piece in self._taken]

    def _take(self) -> slice | None:
        """The next piece: long while there is much to do, short enough to finish together."""
        with self._lock:
            at, rest = self._next, self._count - self._next
            if self._failed or not rest:
                return None
            longest = LARGEST_CHUNKS if self._helpers else 1
            size = min(max(rest // (2 * self._threads), self._chunk), longest * self._chunk, rest)
            self._next = at + size
            self._taken.append(slice(at, at + size))
            return self._taken[-1]

    def _work(self, goes_on: Callable[[], bool]) -> float:
        """Pieces until there are no more; gives the seconds that the last one took."""
        seconds = 0.0
        while goes_on() and (piece := self._take()) is not None:
            start = time.perf_counter()
            try:
                self._done[piece.start] = self._run(piece)
            except Exception as error:
                self._failed[piece.start] = error
            seconds = time.perf_counter() - start
        return seconds

    def _ask_for_help(self) -> bool:
        while self._left.acquire(blocking=False):
            self._helpers -= 1
        wanted = self._threads - 1 - self._helpers
        for _ in range(min(wanted, spare_cores()) if wanted else 0):
            self._helpers += 1
            try:  # unlike threading's, this start does not wait for the thread
                _thread.start_new_thread(contextvars.copy_context().run, (self._help,))
            except RuntimeError:  # no more threads to be had here: then without
                self._helpers -= 1
                break
        return True

    def _help(self) -> None:
        blas().one_thread_here()
        self._work(lambda: spare_cores() >= 0)
        self._left.release()
