"""Orders of codes as loops: what they say of the lists of positions that they stand for."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from hwsim.frontends.shared.arrangement import Arrangement, moving, view_of
from hwsim.frontends.shared.walks import LoopOrder, inverse

SHAPES = [(), (1,), (5,), (3, 4), (2, 3, 4), (1, 6, 2), (4, 1, 3, 2)]
ORDERS = [(shape, axes) for shape in SHAPES for axes in itertools.permutations(range(len(shape)))]


def listed(shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape).transpose(axes).reshape(-1)


@pytest.mark.parametrize(("shape", "axes"), ORDERS)
def test_loops_visit_what_a_transposed_array_holds(shape, axes) -> None:
    walk, wanted = LoopOrder.permuted(shape, axes), listed(shape, axes)
    assert np.array_equal(walk.positions, wanted)
    assert walk.same(LoopOrder.of(wanted)) and LoopOrder.of(wanted).loops == walk.loops
    assert np.array_equal(walk.inverse().positions, inverse(wanted))
    assert walk.is_plain == np.array_equal(wanted, np.arange(wanted.size))


@pytest.mark.parametrize(("shape", "axes"), ORDERS)
def test_walks_one_after_the_other_are_lists_of_lists(shape, axes) -> None:
    first = LoopOrder.permuted(shape, axes)
    for others in itertools.permutations(range(len(shape))):
        second = LoopOrder.permuted(shape, others)
        assert np.array_equal(first.after(second).positions, second.positions[first.positions])
        moved = inverse(listed(shape, others))[first.positions]
        assert np.array_equal(first.renumbered(shape, others).positions, moved)


@pytest.mark.parametrize(("shape", "axes"), ORDERS)
def test_a_walk_along_a_longer_axis_is_that_of_a_longer_array(shape, axes) -> None:
    walk = LoopOrder.permuted(shape, axes)
    for axis, length in itertools.product(range(len(shape)), (1, 2, 9)):
        made = walk.stretched(shape, axis, length)
        longer = (*shape[:axis], length, *shape[axis + 1 :])
        if shape[axis] == 1:
            assert made is None
        else:
            assert made is not None and made.same(LoopOrder.permuted(longer, axes))
            assert np.array_equal(made.positions, listed(longer, axes))


def test_what_no_loops_visit_is_kept_as_a_list(rng) -> None:
    for size in (4, 9, 12):
        order = rng.permutation(size)
        walk = LoopOrder.of(order)
        assert np.array_equal(walk.positions, order)
        assert np.array_equal(walk.inverse().positions, inverse(order))
        assert np.array_equal(walk.after(walk).positions, order[order])
        assert walk.same(LoopOrder(None, order)) and not walk.same(LoopOrder.plain(size))


def test_orders_of_the_largest_tensors_take_no_memory() -> None:
    shape = (64, 1024, 1024)
    tracemalloc.start()
    held, wanted = Arrangement.plain(shape), Arrangement.channels_last(shape)
    assert not held.standard and wanted.standard
    assert wanted.transposed((1, 2, 0)).walk.is_plain
    assert view_of(wanted.walk, wanted.physical, shape) is not None
    assert moving(held, wanted) is not None
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
