"""The example of `examples/hls4ml`: csim = emulator = RTL in Verilator, from committed files on."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import digits
import numpy as np
import pytest

import hwsim
from hwsim.fixed import Overflow, Rounding
from hwsim.ops import Stepwise

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "hls4ml"
CSIM = np.load(FOLDER / "digits.csim.npy", allow_pickle=False)
IMAGES = digits.load().test_images


def saved() -> hwsim.Graph:
    return hwsim.load(FOLDER / "digits.hwsim")


@cache
def convert() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hls4ml_example", FOLDER / "convert.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_saved_graph_gives_the_recorded_codes_of_csim():
    graph = saved()
    got = hwsim.emulate(graph, IMAGES, codes=False)
    frac_bits = graph.types()[graph.outputs[0].tensor].format.frac_bits
    assert CSIM.shape == (360, 10) and len(np.unique(CSIM)) > 500
    assert (np.ldexp(got.astype(np.float64), frac_bits) == CSIM).all()
    assert np.mean(got.argmax(1) == digits.load().test_labels) > 0.96


def test_its_accumulators_wrap_and_saturate_in_all_and_by_several_roundings():
    found = [node.op.accumulator for node in saved().nodes if hasattr(node.op, "accumulator")]
    assert all(isinstance(a, Stepwise) for a in found)
    assert [a.overflow for a in found] == [Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM]
    assert [a.rounding for a in found] == [Rounding.RND, Rounding.TRN, Rounding.RND_CONV]
    assert found[2].order is not None and list(found[2].order) != sorted(found[2].order)


@pytest.mark.needs("hls4ml", "qonnx")
def test_hls4ml_still_makes_the_saved_graph(tmp_path):
    for backend in ("hwsim", "Vitis"):
        graph = hwsim.load(convert().convert(backend, tmp_path / backend))
        assert graph.hash() == saved().hash(), backend


@pytest.mark.needs("hls4ml", "qonnx")
@pytest.mark.parametrize(("layer", "changed"), [("Conv_0", 182), ("Conv_1", 323), ("MatMul_0", 79)])
def test_each_accumulator_really_overflows_on_the_images(layer, changed, tmp_path):
    """With ten more integer bits some sums are others: the example needs the rules."""
    precisions = {name: dict(types) for name, types in convert().PRECISIONS.items()}
    kind, width, integer, modes = re.fullmatch(
        r"(\w+)<(\d+),(\d+)(.*)>", precisions[layer]["accum"]
    ).groups()
    wide = f"{kind}<{int(width) + 10},{int(integer) + 10}{modes}>"
    precisions[layer] |= {"accum": wide} | ({"result": wide} if layer != "MatMul_0" else {})
    other = hwsim.load(convert().convert("hwsim", tmp_path, precisions))
    edge = f"{layer}_out0/sum" if layer == "MatMul_0" else f"{layer}_out0"
    formats = [graph.types()[edge].format for graph in (saved(), other)]
    assert formats[0].frac_bits == formats[1].frac_bits
    ours, theirs = (hwsim.trace(graph, IMAGES)[edge] for graph in (saved(), other))
    assert int((ours != theirs).sum()) == changed


@pytest.mark.needs("hls4ml", "qonnx")
def test_csim_still_gives_the_recorded_codes(tmp_path):
    model = convert().convert("Vitis", tmp_path)
    assert (convert().csim_codes(model, saved(), IMAGES) == CSIM).all()


@pytest.mark.needs("verilator", "cocotb", "pyosys")
def test_rtl_in_verilator_equals_csim_on_the_test_split(tmp_path):
    """Continuous, stalled and after a reset; `verify` compares with the emulator, hence csim."""
    from rtl.build import Request, build
    from rtl.sim.verify import verify

    build(saved(), tmp_path / "b", Request(rtl_only=True))
    codes = np.rint(IMAGES * 16).astype(np.int64).transpose(0, 2, 3, 1)
    (port,) = saved().inputs
    outcome = verify(tmp_path / "b", {port.name: codes.reshape(-1, *port.type.shape)}, seed=3)
    assert outcome.ok and [run.compared for run in outcome.runs] == [3600] * 3
    assert outcome.cycles_per_inference == 864


@pytest.mark.slow
@pytest.mark.needs("pyosys", "nextpnr-ecp5")
def test_its_bitstream_meets_50_mhz_on_the_smallest_ecp5(tmp_path):
    from rtl.build import Request, build

    facts = build(saved(), tmp_path / "b", Request(target="ecp5-25k", clock_mhz=50))
    assert facts["fmax_mhz"] >= 50 and (tmp_path / "b" / facts["bitstream"]).stat().st_size > 50_000


@pytest.mark.needs("hls4ml", "qonnx")
def test_the_suggested_precisions_of_its_layers_lose_nothing(tmp_path):
    module = convert()
    first = module.convert("hwsim", tmp_path)
    images = IMAGES.astype(np.float64)
    suggested = hwsim.suggest(first, images).config["LayerName"]
    pools = {"MaxPool_0", "MaxPool_1"}  # which the example leaves at the model's own precision
    assert set(suggested) <= {*module.PRECISIONS, *pools}
    assert suggested["Conv_0"]["Precision"]["accum"]
    types = {name: dict(given) for name, given in module.PRECISIONS.items()}
    for name, given in suggested.items():
        types.setdefault(name, {}).update(given["Precision"])
    del types["MatMul_0"]["result"]  # hls4ml adds the bias in the layer only while it is inferred
    again = hwsim.hazards(module.convert("hwsim", tmp_path, types), images)
    assert {row.what for row in again.rows} <= {"input"}
    assert len(hwsim.hazards(first, images).rows) > 3


def test_its_hazards_are_the_sums_that_its_page_counts():
    """182 of 138,240 sums, 323 of 69,120 and 79 of 3,600 are out of range, as the README says."""
    found = {row.name: row.count for row in hwsim.hazards(saved(), IMAGES).rows}
    text = " ".join((FOLDER / "README.md").read_text().split())
    counts = {"Conv_0_out0": 182, "Conv_1_out0": 323, "MatMul_0_out0/sum": 79}
    for name, count in counts.items():
        assert found[name].overflows == count
        assert re.search(rf"\b{count} of {found[name].codes:,}\b", text)
