"""BLAS is held to one thread and given back; threads over pieces of a batch change no code."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from support.cases import tensor
from support.small_graphs import images, network, one
from threadpoolctl import ThreadpoolController, threadpool_limits

from hwsim import emulate, trace
from hwsim.emulator import threads
from hwsim.emulator.run import Emulator, planned
from hwsim.emulator.threads import Blas, in_pieces, most_threads
from hwsim.errors import HwsimError
from hwsim.ops import Relu


class Library:
    """A BLAS as threadpoolctl shows it, with one number of threads or one for each thread."""

    def __init__(self, count: int, layer: str = "pthreads") -> None:
        self.threading_layer, self._start = layer, count
        self._shared = threading.local() if layer == "openmp" else type("", (), {})()

    @property
    def num_threads(self) -> int:
        return getattr(self._shared, "count", self._start)

    def set_num_threads(self, count: int) -> None:
        self._shared.count = count


@pytest.fixture
def free(monkeypatch):
    """A machine with as many cores as anybody asks for, and a BLAS that may use four."""
    monkeypatch.setattr(threads, "spare_cores", lambda: 99)
    monkeypatch.setenv(threads.ENVIRONMENT, "4")


def elsewhere(run):
    """What `run` gives in another thread."""
    found = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    return found[0]


def blas_threads() -> list[int]:
    """As NumPy's library says itself."""
    return [
        lib.num_threads for lib in ThreadpoolController().select(user_api="blas").lib_controllers
    ]


def test_blas_has_one_thread_inside_and_its_own_number_after():
    libraries = [Library(4), Library(2, "openmp")]
    blas = Blas(libraries)
    with suppress(KeyError), blas.one_thread() as allowed:
        assert allowed == 2 and [lib.num_threads for lib in libraries] == [1, 1]
        with blas.one_thread() as inner:
            assert inner == 1
        assert [lib.num_threads for lib in libraries] == [1, 1]
        raise KeyError
    assert [lib.num_threads for lib in libraries] == [4, 2]


def test_the_last_of_several_threads_gives_the_number_back():
    library = Library(4)
    blas = Blas([library])
    first, second = blas.one_thread(), blas.one_thread()
    assert first.__enter__() == 4
    assert elsewhere(second.__enter__) == 4
    elsewhere(lambda: first.__exit__(None, None, None))
    assert library.num_threads == 1
    second.__exit__(None, None, None)
    assert library.num_threads == 4


def test_under_openmp_each_thread_has_its_own_number():
    library = Library(4, "openmp")
    blas = Blas([library])
    with blas.one_thread() as allowed:
        assert allowed == 4 and library.num_threads == 1
        assert elsewhere(lambda: library.num_threads) == 4
        assert elsewhere(lambda: (blas.one_thread_here(), library.num_threads)) == ([4], 1)
        with blas.one_thread():
            pass
        assert library.num_threads == 1
    assert library.num_threads == 4


@pytest.mark.parametrize("keep", [False, True])
def test_every_operator_runs_with_one_blas_thread(keep):
    seen = []

    def kernel(op, xp, xs, constants):
        seen.append(blas_threads())
        return op.run(xp, xs, constants)

    emulator = Emulator(one(Relu()), kernels={Relu: kernel})
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        assert before and set(before) == {2}
        if keep:
            emulator.run({"x": np.zeros((5, 3))}, keep=True)
        else:
            emulator.predict(np.zeros((5, 3)))
        assert blas_threads() == before
    assert seen and all(set(counts) == {1} for counts in seen)


def test_without_threadpoolctl_the_codes_are_the_same(monkeypatch, seed):
    """BLAS is then left as it is, and a batch has one thread unless the variable says more."""
    graph, x = network(), images(500, seed)
    expected = emulate(graph, x)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    for count in (None, "3"):
        threads.blas.cache_clear()
        if count is not None:
            monkeypatch.setenv(threads.ENVIRONMENT, count)
        before = blas_threads()
        got = emulate(graph, x)
        with threads.blas().one_thread() as allowed:
            assert allowed == 1 and blas_threads() == before
        assert all(np.array_equal(got[name], expected[name]) for name in expected)
    threads.blas.cache_clear()


def test_what_was_set_in_one_thread_comes_back_from_another():
    """threadpoolctl lets one thread set OpenBLAS until it is done: nobody is left in charge."""
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        emulate(one(Relu()), np.zeros((5, 3)))
        assert blas_threads() == before
    elsewhere(lambda: emulate(one(Relu()), np.zeros((5, 3))))

    def limited() -> list[int]:
        with threadpool_limits(3, user_api="blas"):
            emulate(one(Relu()), np.zeros((5, 3)))
            return blas_threads()

    assert set(elsewhere(limited)) == {3} and set(limited()) == {3}


def test_a_users_limit_is_the_emulators(monkeypatch):
    monkeypatch.delenv(threads.ENVIRONMENT, raising=False)
    cores = len(os.sched_getaffinity(0))
    assert [most_threads(n) for n in (1, 2, 99)] == [1, min(2, cores), min(cores, 8)]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert [most_threads(n) for n in (1, 2, 99)] == [1, 2, threads.MOST_THREADS]
    monkeypatch.setenv(threads.ENVIRONMENT, "12")
    assert most_threads(1) == 12


@pytest.mark.parametrize("samples", [1, 100])
@pytest.mark.parametrize("text", ["0", "-1", "2.5", "two", "", "٣"])
def test_a_number_of_threads_that_is_none_is_refused(text, samples, monkeypatch):
    monkeypatch.setenv(threads.ENVIRONMENT, text)
    with pytest.raises(HwsimError) as error:
        in_pieces(lambda part: part, samples, 1)
    assert str(error.value) == (
        f"HWSIM_NUM_THREADS must be a whole number of 1 or more, not {text!r}"
    )


def covered(pieces: list[slice]) -> int:
    """How many samples the pieces hold, which must be all of them once, in order."""
    assert [p.start for p in pieces] == [0, *(p.stop for p in pieces[:-1])]
    return pieces[-1].stop


def lengths(count: int) -> list[int]:
    """Of the pieces of a batch of so many samples, ten a chunk."""
    pieces = in_pieces(lambda part: part, count, 10)
    assert covered(pieces) == count
    return [p.stop - p.start for p in pieces]


@pytest.mark.parametrize("count", ["1", "4"])
def test_a_batch_is_cut_into_chunks(count, monkeypatch):
    """On a busy machine as by one thread."""
    monkeypatch.setattr(threads, "spare_cores", lambda: 0)
    monkeypatch.setenv(threads.ENVIRONMENT, count)
    assert lengths(0) == [0] and lengths(9) == [9] and lengths(10) == [10]
    assert lengths(11) == [10, 1] and lengths(79) == [10] * 7 + [9]
    assert lengths(80) == [10] * 8 and lengths(95) == [10] * 9 + [5]


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_pieces_that_are_shared_are_long_first_and_chunks_at_the_end(workers, monkeypatch):
    monkeypatch.setattr(threads, "spare_cores", lambda: 99)
    monkeypatch.setenv(threads.ENVIRONMENT, str(workers))
    for count in (80, 81, 99, 1000, 1003):
        pieces = lengths(count)
        longest = 10 * threads.LARGEST_CHUNKS
        assert max(pieces) <= longest and pieces == sorted(pieces, reverse=True)
        assert pieces[0] == min(longest, max(10, count // (2 * workers)))
        assert set(pieces[-2:-1]) == {10} and pieces[-1] <= 10


def test_a_small_batch_asks_for_no_help(monkeypatch):
    """One thread does it sooner, and the machine is not even looked at."""
    monkeypatch.setenv(threads.ENVIRONMENT, "4")
    asked, here = [], threading.get_ident()  # a helper of another test may be at work still
    monkeypatch.setattr(threads, "spare_cores", lambda: asked.append(threading.get_ident()) or 99)
    in_pieces(lambda part: part, 79, 10)
    assert here not in asked
    in_pieces(lambda part: part, 80, 10)
    assert here in asked


@pytest.mark.usefixtures("free")
def test_threads_give_the_codes_of_one(seed, monkeypatch):
    graph = network()
    emulator = planned(graph)
    x = images(9 * emulator.chunk + 5, seed)
    shared = [emulate(graph, x) for _ in range(3)]
    chunked = emulator.run_chunked(emulator.encode(x))
    monkeypatch.setenv(threads.ENVIRONMENT, "1")
    alone = emulate(graph, x)
    for got in shared:
        assert all(np.array_equal(got[name], alone[name]) for name in alone)
    edges = trace(graph, x)
    for port in graph.outputs:
        assert np.array_equal(chunked[port.tensor], edges[port.tensor])


@pytest.mark.usefixtures("free")
def test_several_threads_work_at_a_large_batch():
    barrier, names = threading.Barrier(4, timeout=20), set()

    def run(part: slice) -> slice:
        if threading.get_ident() not in names:
            names.add(threading.get_ident())
            barrier.wait()  # four at once, or an error
        return part

    assert covered(in_pieces(run, 64, 1)) == 64 and len(names) == 4


@pytest.mark.usefixtures("free")
def test_a_helper_that_stands_still_holds_nobody_up():
    caller, stopped, over = threading.get_ident(), threading.Event(), threading.Event()

    def run(part: slice) -> slice:
        if threading.get_ident() != caller:
            stopped.set()
            over.wait(20)
        else:
            stopped.wait(20)
        return part

    try:
        assert covered(in_pieces(run, 64, 1)) == 64
    finally:
        over.set()


@pytest.mark.parametrize("spare", [0, -3])
def test_on_a_busy_machine_the_caller_works_alone(spare, monkeypatch):
    monkeypatch.setattr(threads, "spare_cores", lambda: spare)
    monkeypatch.setenv(threads.ENVIRONMENT, "4")
    names = set(in_pieces(lambda _: threading.get_ident(), 64, 1))
    assert names == {threading.get_ident()}


def test_a_helper_leaves_when_its_core_is_wanted_and_is_replaced(monkeypatch):
    """The first helper is told to go before its first piece; the next one may stay."""
    monkeypatch.setenv(threads.ENVIRONMENT, "2")
    caller, gone, helped = threading.get_ident(), threading.Event(), threading.Event()

    def spare() -> int:
        if threading.get_ident() == caller or gone.is_set():
            return 1
        gone.set()
        return -1

    def run(_: slice) -> int:
        if threading.get_ident() != caller:
            helped.set()
        else:
            gone.wait(20)
            helped.wait(0.1)  # 64 times, or until there is another
        return threading.get_ident()

    monkeypatch.setattr(threads, "spare_cores", spare)
    assert len(set(in_pieces(run, 64, 1))) == 2


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("first", [0, 7, 63])
def test_the_error_of_the_earliest_sample_is_raised(first):
    def run(part: slice) -> None:
        bad = [k for k in range(part.start, part.stop) if k >= first]
        if bad:
            raise HwsimError(f"sample {bad[0]}")

    with pytest.raises(HwsimError, match=f"^sample {first}$"):
        in_pieces(run, 64, 1)


@pytest.mark.usefixtures("free")
def test_an_input_that_is_refused_is_refused_in_the_same_words_by_threads(monkeypatch):
    graph = one(Relu(), x=tensor(3))
    x = np.zeros((9 * planned(graph).chunk, 3), np.int64)
    x[-1, 0], x[len(x) // 2, 0] = 300, 200
    texts = []
    for count in ("3", "1"):
        monkeypatch.setenv(threads.ENVIRONMENT, count)
        with pytest.raises(HwsimError) as error:
            emulate(graph, x, codes=True)
        texts.append(str(error.value))
    assert "not 0 to 200" in texts[0] and texts[0] == texts[1]


@pytest.mark.usefixtures("free")
def test_an_interrupt_stops_the_helpers():
    caller, begun = threading.get_ident(), []

    def run(part: slice) -> None:
        begun.append(part)
        if threading.get_ident() == caller:
            raise KeyboardInterrupt
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        in_pieces(run, 4000, 1)
    time.sleep(0.1)
    assert len(begun) < 200


@pytest.mark.usefixtures("free")
def test_helpers_keep_the_callers_floating_point_settings():
    barrier, names = threading.Barrier(4, timeout=20), set()

    def run(_: slice) -> str:
        if threading.get_ident() not in names:
            names.add(threading.get_ident())
            barrier.wait()
        return str(np.geterr()["over"])

    with np.errstate(over="raise"):
        assert set(in_pieces(run, 64, 1)) == {"raise"}


def test_spare_cores_are_counted_or_taken_for_free(monkeypatch, tmp_path):
    assert threads.spare_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    opened = tmp_path / "loadavg"
    real = open
    monkeypatch.setattr("builtins.open", lambda path, **how: real(opened, **how))
    opened.write_text("4.10 2.00 1.00 7/321 4242\n")
    assert threads.spare_cores() == -1
    opened.write_text("")
    assert threads.spare_cores() == 6
    opened.unlink()
    assert threads.spare_cores() == 6


@pytest.mark.usefixtures("free")
def test_where_no_thread_can_be_started_the_caller_does_it_all(monkeypatch):
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads._thread, "start_new_thread", none)
    assert covered(in_pieces(lambda part: part, 64, 1)) == 64


def test_a_process_forked_at_any_moment_emulates_too():
    """Even while another thread holds the lock of its parent's BLAS."""
    graph, x = one(Relu()), np.zeros((5, 3))
    emulate(graph, x)
    with threads.blas()._lock:
        child = multiprocessing.get_context("fork").Process(target=emulate, args=(graph, x))
        child.start()
        child.join(20)
        child.kill()
    assert child.exitcode == 0
