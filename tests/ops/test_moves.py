"""What moves codes: which selections and paddings are refused, and what they know of themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.cases import tensor

from hwsim.emulator.run import emulate
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Concat, Op, Pad, Quant, Select, TensorType

X = tensor((3, 4, 2))
SCALED = TensorType((3, 2), Format.int(8), Quant((0.1, 0.2)))


def refused(sentence: str, call: Callable[[], object]) -> None:
    with pytest.raises(HwsimError) as error:
        call()
    assert str(error.value) == sentence


def alone(op: Op, x: TensorType) -> Graph:
    ports = (InputPort(name="x", tensor="x", type=x),)
    return Graph(ports, (Node("op", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


@pytest.mark.parametrize(
    ("axis", "indices", "sentence"),
    [
        (3, (0,), "the axis of a select must be one of 3 from 0 on, not 3"),
        (-1, (0,), "the axis of a select must be one of 3 from 0 on, not -1"),
        (0, (), "a select must have at least one index, not none"),
        (0, (0, 3), "the indices of a select must be from 0 to 2, not [3]"),
        (2, (-1, 0), "the indices of a select must be from 0 to 1, not [-1]"),
    ],
)
def test_an_index_or_an_axis_that_is_not_there_is_named(axis, indices, sentence):
    refused(sentence, lambda: Select(axis=axis, indices=indices).infer([X]))


def test_indices_are_whole_numbers():
    sentence = "the axis and indices of a select must be whole numbers, not 0 and (0.5,)"
    refused(sentence, lambda: Select(axis=0, indices=(0.5,)))  # type: ignore[arg-type]


def test_scales_follow_their_channels_and_no_other_axis():
    channels = Select(axis=1, indices=(1, 1, 0)).infer([SCALED])
    assert channels.quant == Quant((0.2, 0.2, 0.1))
    rows = Select(axis=0, indices=(2, 2)).infer([SCALED])
    assert rows.quant == SCALED.quant and rows.shape == (2, 2)


@pytest.mark.parametrize("indices", [(1, 2), (0, 2), (1,)])
def test_indices_that_rise_evenly_are_a_view(indices):
    codes = np.arange(24).reshape(1, 3, 4, 2)
    op = Select(axis=0, indices=indices)
    out = op.run(np, [codes], op.prepare([X], op.carriers([X])[0]))
    assert np.shares_memory(out, codes) and np.array_equal(out, codes[:, list(indices)])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"before": (1, 0)},
            "a pad of (3, 4, 2) must have 3 amounts each, not (1, 0), () and ()",
        ),
        ({"code": 128}, "a pad's code must be one of s8, not 128"),
    ],
)
def test_a_pad_that_does_not_fit_is_refused(fields, sentence):
    refused(sentence, lambda: Pad(**fields).infer([X]))


def test_a_pad_s_amounts_are_whole_numbers_from_0():
    refused(
        "a pad's amounts must be 0 or more, not (-1,), () and ()",
        lambda: Pad(before=(-1,)),
    )
    refused(
        "a pad's amounts and code must be whole numbers, not (0.5,), (), () and 0",
        lambda: Pad(before=(0.5,)),  # type: ignore[arg-type]
    )


def test_channels_with_scales_of_their_own_get_no_others_by_a_pad():
    sentence = "a tensor with a scale for each channel must get no more channels by a pad"
    refused(sentence, lambda: Pad(after=(0, 1)).infer([SCALED]))
    assert Pad(after=(1, 0)).infer([SCALED]).quant == SCALED.quant


def test_the_code_of_a_pad_counts_among_those_that_occur_only_where_it_does():
    x = tensor(6, codes=(3, 90))
    assert (Pad(after=(1,), code=-5).infer([x]).lo, Pad(code=-5).infer([x]).lo) == (-5, 3)


def test_a_pad_leaves_its_input_as_it_is():
    graph, codes = alone(Pad(before=(1, 0, 0), code=9), X), np.arange(24).reshape(1, 3, 4, 2)
    got = emulate(graph, codes, codes=True)
    assert got[0, 0].tolist() == [[9, 9]] * 4 and np.array_equal(got[:, 1:], codes)


def test_a_concatenation_s_axis_is_there_and_the_others_agree():
    other = tensor((3, 5, 2))
    assert Concat(axis=1).infer([X, other]).shape == (3, 9, 2)
    refused(
        "a concatenation's axis must be one of 3 from 0 on, or -1 for the channels, not 3",
        lambda: Concat(axis=3).infer([X, X]),
    )
    refused(
        "concatenated shapes must agree but for axis 0, not (3, 4, 2) and (3, 5, 2)",
        lambda: Concat(axis=0).infer([X, other]),
    )
    refused(
        "concatenated shapes must agree but for channels, not (3, 4, 2) and (3, 5, 2)",
        lambda: Concat().infer([X, other]),
    )


def test_a_concatenation_of_channels_is_saved_as_before():
    ports = tuple(InputPort(name=n, tensor=n, type=X) for n in "ab")

    def schema(op: Op) -> int:
        nodes = (Node("op", op, ("a", "b"), "y"),)
        return int(Graph(ports, nodes, (OutputPort(name="y", tensor="y"),)).document()[0]["schema"])

    assert (schema(Concat()), schema(Concat(axis=0))) == (1, 3)
