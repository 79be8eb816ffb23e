"""Programs in ExecuTorch's own runtime: a `.pt2` and the `.pte` made of it give its integers."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
import pytest
from support.mutants import mutated, sentences
from support.seeds import base

import hwsim
from hwsim import HwsimError

pytestmark = [pytest.mark.needs("executorch"), pytest.mark.slow]
SAMPLES = 24
DAMAGED = ("linear", "conv2d", "add", "avg_pool2d", "cat", "mean, axes gone")
"""Operators whose programs are damaged: nodes of the delegate, and operators beside it."""
ROUGH = ("softmax", "log_softmax", "sigmoid at the end")
"""Operators whose last bits in float32 are the runtime's own."""


REFUSED = {("matmul", 1, "pte")}
"""Lowering makes one axis of the batch and another, which is read nowhere."""


def operators():
    """Names of the catalogue, without torch where it is missing."""
    try:
        from support.exported_operators import BY_ITSELF, OPERATORS
    except ImportError:
        return []
    both = {**OPERATORS, **BY_ITSELF}
    return [(name, number) for name, builds in both.items() for number in range(len(builds))]


def networks():
    """Names of whole networks."""
    try:
        from support.exported_networks import NETWORKS
    except ImportError:
        return []
    return list(NETWORKS)


def announced(path):
    """The Graph of a file, and what its load has warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return hwsim.load(path), said


def compared(path, feeds, expected) -> tuple[list[int], bool]:
    """How many codes of each output differ, and whether the load has warned of the runtime."""
    graph, said = announced(path)
    got = hwsim.emulate(graph, {p.name: x for p, x in zip(graph.inputs, feeds, strict=True)})
    found = list(got.values()) if isinstance(got, dict) else [got]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
    return [int((a != b).sum()) for a, b in zip(found, expected, strict=True)], bool(said)


@pytest.mark.parametrize(("name", "number"), operators())
def test_an_operator_gives_the_integers_of_executorch_or_says_where_not(name, number, tmp_path):
    from support.executorch_run import lowered, ran
    from support.exported import Maker, saved
    from support.exported_operators import BY_ITSELF, OPERATORS

    # Lowering takes most of the time, so both kinds of scales are branches of one program; each is
    # loaded alone too, since what is said of one branch is not said of the other.
    maker = Maker(np.random.default_rng(zlib.crc32(f"{name}|{number}".encode()) ^ base()))
    branches, said = [], []
    for powers in (True, False):
        maker.powers, first = powers, len(maker.shapes)
        function = {**OPERATORS, **BY_ITSELF}[name][number](maker)
        branches.append((function, slice(first, len(maker.shapes))))
        alone = Maker(maker.rng, buffers=maker.buffers, shapes=maker.shapes[first:])
        (tmp_path / "one.pt2").write_bytes(saved(alone.exported(function)))
        said.append(bool(announced(tmp_path / "one.pt2")[1]))

    def together(module, *inputs):
        made = [function(module, *inputs[part]) for function, part in branches]
        return tuple(out for each in made for out in (each if isinstance(each, tuple) else [each]))

    program, feeds = maker.exported(together), maker.feeds(SAMPLES)
    model = lowered(program)
    (tmp_path / "m.pt2").write_bytes(saved(program))
    (tmp_path / "m.pte").write_bytes(model)
    expected = ran(model, feeds)
    warned = [each for each in said for _ in range(len(expected) // 2)]
    for suffix in ("pt2", "pte"):
        if (name, number, suffix) in REFUSED:
            with pytest.raises(HwsimError, match="must be the batch"):
                hwsim.load(tmp_path / f"m.{suffix}")
            continue
        found, _ = compared(tmp_path / f"m.{suffix}", feeds, expected)
        for different, out, told in zip(found, expected, warned, strict=True):
            assert different == 0 or told, suffix
            assert name in ROUGH or different <= 0.05 * out.size


@pytest.mark.parametrize("name", networks())
def test_a_network_quantized_by_its_own_quantizer_gives_its_integers(name, tmp_path, seed):
    from support.executorch_run import lowered, ran
    from support.exported import saved
    from support.exported_networks import NETWORKS, quantized

    program, feeds = quantized(*NETWORKS[name], seed=seed, samples=200)
    model = lowered(program)
    (tmp_path / "m.pt2").write_bytes(saved(program))
    (tmp_path / "m.pte").write_bytes(model)
    expected = ran(model, feeds)
    for suffix in ("pt2", "pte"):
        different, warned = compared(tmp_path / f"m.{suffix}", feeds, expected)
        assert not any(different) or warned, suffix


def test_another_backend_is_refused_by_its_name(tmp_path):
    from support.executorch_run import lowered
    from support.exported import Maker
    from support.exported_operators import OPERATORS

    maker = Maker(np.random.default_rng(base()))
    model = lowered(maker.exported(OPERATORS["linear"][0](maker)))
    assert model.count(b"XnnpackBackend") == 1
    (tmp_path / "m.pte").write_bytes(model.replace(b"XnnpackBackend", b"CoreMLBackend\0"))
    with pytest.raises(HwsimError, match="lowered for XNNPACK, not for CoreMLBackend"):
        hwsim.load(tmp_path / "m.pte")


def test_damaged_programs_are_sentences(tmp_path, rng):
    from support.executorch_run import lowered
    from support.exported import Maker
    from support.exported_operators import OPERATORS

    said: list[str | None] = []
    for name in DAMAGED:
        maker = Maker(rng)
        model = lowered(maker.exported(OPERATORS[name][0](maker)))
        files = (mutated(model, rng) for _ in range(800))
        said += sentences(hwsim.load, files, tmp_path / "m.pte")
    print(f"{said.count(None)} of {len(said)} read, {len(set(said))} sentences")
    assert len(said) // 10 < sum(text is not None for text in said) < len(said)
