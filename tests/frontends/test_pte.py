"""ExecuTorch's files: what is read of them, without PyTorch, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support import pte_models
from support.mutants import mutated, sentences
from support.oracle import f32, rounded
from support.pte_models import ADD, CONVERT, FULLY_CONNECTED, NOTHING, Blob

import hwsim
from hwsim import HwsimError
from hwsim.frontends import operators_of

SX, SY, ZX, ZY = 0.0625, float(np.float32(0.3)), -5, 17
LOW, HIGH = 0.0, 6.0


def dense(rng, *, biased: bool = True, bounds=(LOW, HIGH)) -> tuple[Blob, np.ndarray, list]:
    """Reals, codes, a dense layer with bounds, reals; with its weights, scales and bias."""
    weights = rng.integers(-127, 128, (3, 4)).astype(np.int8)
    scales = rng.uniform(0.005, 0.02, 3).astype(np.float32)
    bias = rng.integers(-900, 900, 3).astype(np.int32)
    blob = Blob()
    x, codes = blob.tensor(1, 4), blob.tensor(1, 4, scale=SX, zero=ZX)
    held = blob.constant(weights, scales)
    added = blob.constant(bias) if biased else NOTHING
    made, y = blob.tensor(1, 3, scale=SY, zero=ZY), blob.tensor(1, 3)
    blob.node(CONVERT, x, codes)
    blob.node(FULLY_CONNECTED, codes, held, added, made, bounds=bounds)
    blob.node(CONVERT, made, y)
    return blob, weights, [scales, bias if biased else np.zeros(3, np.int32), (x, y)]


def written(tmp_path, blob: Blob, ends, backend="XnnpackBackend"):
    path = tmp_path / "m.pte"
    path.write_bytes(
        pte_models.program(blob.build(*([e] for e in ends)), [(1, 4)], [(1, 3)], backend)
    )
    return path


def expected(x, weights, scales, bias) -> list[float]:
    """One row, in whole numbers and fractions."""
    inverse = f32(1 / Fraction(SX))
    codes = [
        min(max(rounded(f32(Fraction(float(v)) * inverse), "RND_CONV") + ZX, -128), 127) for v in x
    ]
    low, high = (
        rounded(f32(f32(Fraction(b) / Fraction(SY)) + ZY), "RND_CONV") for b in (LOW, HIGH)
    )
    row = []
    for channel, scale, start in zip(weights.tolist(), scales.tolist(), bias.tolist(), strict=True):
        total = start + sum((c - ZX) * w for c, w in zip(codes, channel, strict=True))
        factor = f32(f32(Fraction(SX) * Fraction(scale)) / Fraction(SY))
        code = rounded(f32(Fraction(total) * factor), "RND_CONV") + ZY
        code = min(max(code, low), high)
        row.append(float(np.float32(code - ZY) * np.float32(SY)))
    return row


@pytest.mark.parametrize("biased", [True, False])
def test_a_delegate_of_a_bounded_layer_gives_the_integers_of_the_rule(biased, tmp_path, rng):
    blob, weights, (scales, bias, ends) = dense(rng, biased=biased)
    graph = hwsim.load(written(tmp_path, blob, ends))
    x = rng.uniform(-9, 9, (400, 4)).astype(np.float32)
    got = hwsim.emulate(graph, x)
    assert got.tolist() == [expected(row, weights, scales, bias) for row in x]


def sum_of_two(tmp_path, first: int, second: int) -> hwsim.Graph:
    """A sum of tensors with unlike quantizers, which stand at these places of a call."""
    blob = Blob()
    reals = [blob.tensor(1, 4), blob.tensor(1, 4)]
    codes = [blob.tensor(1, 4, scale=0.5), blob.tensor(1, 4, scale=SX, zero=ZX)]
    made, y = blob.tensor(1, 4, scale=SY, zero=ZY), blob.tensor(1, 4)
    for value, place in zip([*reals, y], (first, second, 2), strict=True):
        blob.values[value]["external"] = place
    for pair in zip(reals, codes, strict=True):
        blob.node(CONVERT, *pair)
    blob.node(ADD, *codes, made)
    blob.node(CONVERT, made, y)
    path = tmp_path / "m.pte"
    path.write_bytes(pte_models.program(blob.build(reals, [y]), [(1, 4)] * 2, [(1, 4)]))
    return hwsim.load(path)


def test_a_delegates_inputs_are_those_that_their_places_say(tmp_path, rng):
    plain, crossed = (sum_of_two(tmp_path, *places) for places in ((0, 1), (1, 0)))
    names = [port.name for port in plain.inputs]
    x, y = rng.uniform(-7, 7, (2, 100, 4)).astype(np.float32)
    want = hwsim.emulate(plain, dict(zip(names, (x, y), strict=True)))
    assert (hwsim.emulate(crossed, dict(zip(names, (y, x), strict=True))) == want).all()
    assert (hwsim.emulate(crossed, dict(zip(names, (x, y), strict=True))) != want).any()


def test_a_delegate_of_another_backend_is_refused_by_its_name(tmp_path, rng):
    blob, _, (*_, ends) = dense(rng)
    with pytest.raises(HwsimError, match="lowered for XNNPACK, not for QnnBackend"):
        hwsim.load(written(tmp_path, blob, ends, "QnnBackend"))


def test_a_node_that_is_not_read_is_refused_by_its_name(tmp_path, rng):
    blob, _, (*_, ends) = dense(rng)
    blob.node(45, ends[1], ends[1])
    with pytest.raises(HwsimError, match="supported operators only, but has XNNSin"):
        hwsim.load(written(tmp_path, blob, ends))


def test_the_nodes_of_a_program_are_listed_with_those_that_are_not_read(tmp_path, rng):
    blob, _, (*_, ends) = dense(rng)
    blob.node(45, ends[1], ends[1])
    why = {one.op: one.why for one in operators_of(written(tmp_path, blob, ends))}
    assert why == {
        "XNNConvert": None,
        "XNNFullyConnected": None,
        "XNNSin": "no rule of it is known",
    }
    (other,) = operators_of(written(tmp_path, blob, ends, "QnnBackend"))
    assert (other.op, other.why) == ("QnnBackend", "it is not XNNPACK's")


def test_another_runtime_of_a_pte_is_refused(tmp_path, rng):
    blob, _, (*_, ends) = dense(rng)
    with pytest.raises(HwsimError, match="must be one of executorch, not 'torch'"):
        hwsim.load(written(tmp_path, blob, ends), like="torch")


def test_a_layer_that_no_quantizer_follows_is_refused(tmp_path, rng):
    blob, _, (*_, ends) = dense(rng)
    blob.nodes.pop()
    kind, fields, bounds = blob.nodes.pop()
    blob.nodes.append((kind, {**fields, 3: ends[1]}, bounds))
    with pytest.raises(HwsimError, match="its quantizer must stand right behind it"):
        hwsim.load(written(tmp_path, blob, ends))


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.slow)])
def test_damaged_files_are_sentences(count, tmp_path, rng):
    blob, _, (*_, ends) = dense(rng)
    model = written(tmp_path, blob, ends).read_bytes()
    said = sentences(hwsim.load, (mutated(model, rng) for _ in range(count)), tmp_path / "m.pte")
    print(f"{said.count(None)} of {len(said)} read, {len(set(said))} sentences")
    assert count // 4 < sum(text is not None for text in said) < count
