"""Exported programs of PyTorch: the integers of the runtime that runs them."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from support.mutants import mutated, mutated_member, sentences
from support.seeds import base

import hwsim
from hwsim import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference

pytestmark = pytest.mark.needs("torch")
SAMPLES = 6
DAMAGED = ("linear", "conv2d", "add", "avg_pool2d", "cat", "sigmoid")
"""Operators whose programs are damaged."""


def operators():
    """Names of the catalogue, without torch where it is missing."""
    try:
        from support.exported_operators import BY_TORCH, OPERATORS
    except ImportError:
        return []
    both = {**OPERATORS, **BY_TORCH}
    return [(name, number) for name, builds in both.items() for number in range(len(builds))]


def drawn(name: str, number: int, *, powers: bool):
    from support.exported import Maker
    from support.exported_operators import BY_TORCH, OPERATORS

    rng = np.random.default_rng(zlib.crc32(f"{name}|{number}|{powers}".encode()) ^ base())
    maker = Maker(rng, powers=powers)
    return maker, maker.exported({**OPERATORS, **BY_TORCH}[name][number](maker))


def by_torch(program, feeds):
    import torch

    with torch.no_grad():
        rows = [
            program.module()(*(torch.from_numpy(x[k : k + 1]) for x in feeds))
            for k in range(SAMPLES)
        ]
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [np.concatenate([out.numpy() for out in outs]) for outs in zip(*rows, strict=True)]


def by_hwsim(graph, feeds):
    got = hwsim.emulate(graph, {p.name: x for p, x in zip(graph.inputs, feeds, strict=True)})
    return list(got.values()) if isinstance(got, dict) else [got]


def told(path, like: str) -> list[str]:
    """What a load warns of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        hwsim.load(path, like=like)
    return [str(each.message) for each in said]


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize(("name", "number"), operators())
def test_an_operator_gives_the_integers_of_torch(name, number, tmp_path):
    from support.exported import saved

    for powers in (True, False):
        maker, program = drawn(name, number, powers=powers)
        feeds = maker.feeds(SAMPLES)
        (tmp_path / "m.pt2").write_bytes(saved(program))
        got = by_hwsim(hwsim.load(tmp_path / "m.pt2", like="torch"), feeds)
        for ours, theirs in zip(got, by_torch(program, feeds), strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            different = (ours != theirs).sum()
            if (name, number) in TIES:
                assert different == 0 or told(tmp_path / "m.pt2", "torch")
                assert different <= 0.2 * ours.size
            else:
                assert different == 0


TIES = {("upsample_bilinear2d", 2), ("upsample_linear1d", 0)}
"""Where sums of shares meet thresholds, and PyTorch's float32 decides; it is announced."""
ORACLE = (
    "conv2d", "conv2d, bounded", "conv2d, dilated", "conv2d, grouped", "conv2d, depthwise",
    "conv1d", "linear", "add", "sub", "mul", "adaptive_avg_pool2d", "mean", "max_pool2d", "relu",
    "hardtanh", "clamp", "requantize", "cat", "view, permute",
)  # fmt: skip
"""Operators whose rules the oracle knows."""
APART = {("add", 3), ("mul", 3), ("sub", 1), ("mul", 2)}
"""With constants, or a clamp that ExecuTorch does not take in: a test with its runtime has them."""


@pytest.mark.parametrize(
    ("name", "number"), [(n, k) for n, k in operators() if n in ORACLE and (n, k) not in APART]
)
def test_an_operator_gives_the_integers_of_the_oracle_of_executorch(name, number, tmp_path):
    from support import oracle_executorch
    from support.exported import saved

    for powers in (True, False):
        maker, program = drawn(name, number, powers=powers)
        feeds = [x[:1] for x in maker.feeds(SAMPLES)]
        (tmp_path / "m.pt2").write_bytes(saved(program))
        got = by_hwsim(hwsim.load(tmp_path / "m.pt2"), feeds)
        for ours, theirs in zip(got, oracle_executorch.outputs(program, feeds), strict=True):
            assert ours.shape == theirs.shape
            assert (ours != theirs).sum() == 0


def test_a_layer_is_announced_where_its_order_of_sums_may_decide_and_not_elsewhere(path):
    from support.exported import saved

    for name, number, powers, expected in (
        ("conv2d, depthwise", 2, True, 0),  # without bias: float32 holds each of its sums
        ("linear", 0, False, 1),
        ("conv2d", 0, False, 1),
    ):
        path.write_bytes(saved(drawn(name, number, powers=powers)[1]))
        found = told(path, "torch")
        assert len(found) == expected
        assert all("steps of a rounding threshold" in text for text in found)
        assert told(path, "executorch") == []


def test_scales_of_inputs_are_refused_where_no_lowering_takes_them(path):
    from support.exported import saved

    path.write_bytes(saved(drawn("scales of inputs", 0, powers=False)[1]))
    with pytest.raises(HwsimError, match="scales of its outputs, not of its inputs"):
        hwsim.load(path)


def test_a_function_at_the_end_is_announced_for_its_last_bits(path, rng):
    from support.exported import Maker, saved
    from support.exported_operators import BY_ITSELF

    maker = Maker(rng)
    path.write_bytes(saved(maker.exported(BY_ITSELF["sigmoid at the end"][0](maker))))
    for like in ("torch", "executorch"):
        (text,) = told(path, like)
        assert "last bits" in text
        assert "sigmoid" in text


def archive(program) -> dict[str, bytes]:
    """The members of a program's archive."""
    from support.exported import saved

    with zipfile.ZipFile(io.BytesIO(saved(program))) as held:
        return {name: held.read(name) for name in held.namelist()}


def packed(members: dict[str, bytes], path, method: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as held:
        for name, data in members.items():
            held.writestr(name, data)
    return path


def changed(members: dict[str, bytes], end: str, old: bytes, new: bytes) -> dict[str, bytes]:
    name = next(name for name in members if name.endswith(end))
    assert old in members[name]
    return {**members, name: members[name].replace(old, new)}


@pytest.fixture(scope="module")
def members():
    return archive(drawn("linear", 0, powers=True)[1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.pt2"


def test_a_program_in_memory_is_that_of_its_file(path):
    from support.exported import saved

    _, program = drawn("conv2d", 0, powers=False)
    path.write_bytes(saved(program))
    assert hwsim.load(program).hash() == hwsim.load(path).hash()
    assert hwsim.load(program, like="torch").hash() != hwsim.load(path).hash()


def test_a_program_with_an_open_batch_gives_the_same_integers(path):
    from support.exported import Maker, saved
    from support.exported_operators import OPERATORS

    graphs = []
    for dynamic in (False, True):
        maker = Maker(np.random.default_rng(base()))
        function = OPERATORS["conv2d"][3](maker)
        path.write_bytes(saved(maker.exported(function, dynamic=dynamic)))
        graphs.append(hwsim.load(path))
    feeds = maker.feeds(SAMPLES)
    assert (by_hwsim(graphs[0], feeds)[0] == by_hwsim(graphs[1], feeds)[0]).all()


def test_a_program_is_read_without_torch_and_its_pickle_never(members, path, monkeypatch):
    name = next(name for name in members if name.endswith("sample_inputs/model.pt"))
    packed({**members, name: b"cos\nsystem\n(S'false'\ntR."}, path)
    code = f"import sys, hwsim; hwsim.load({str(path)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("end", "old", "new", "text"),
    [
        ("weights_config.json", b'"use_pickle": false', b'"use_pickle": true', "as a pickle"),
        ("model.json", b"aten.linear.default", b"aten.fft.default", r"has aten.fft \(linear\)"),
        ("model.json", b"torch.ops.aten.linear.default", b"torch.ops.mylib.twice.default",
         r"has mylib.twice \(linear\); docs/pytorch.md lists what is supported"),
        ("model.json", b"torch.ops.aten.linear.default", b"torch.ops.higher_order.cond",
         r"has higher_order.cond \(linear\); what helps: branches and loops have no place"),
        ("model.json", b"torch.ops.aten.linear.default",
         b"torch.ops.quantized_decomposed.choose_qparams.tensor",
         "what helps: a quantizer whose activations have fixed scales.*is_dynamic=False"),
        ("model.json", b'"major": 8', b'"major": 5', "schema 8"),
        ("model.json", b"quantized_decomposed.quantize_per_tensor.default",
         b"aten.relu.default", "must"),
        ("model.json", b'"as_scalar_type": 2', b'"as_scalar_type": 4', "must"),
        ("model.json", b"user_output", b"buffer_mutation", "must not change its buffers"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_sentence(members, path, end, old, new, text):
    packed(changed(members, end, old, new), path)
    with pytest.raises(HwsimError, match=text) as refused:
        hwsim.load(path)
    assert str(refused.value).startswith(str(path))


def test_a_bomb_and_a_pickled_archive_are_refused(members, path):
    packed({**members, "m/zeros": bytes(1 << 24)}, path, zipfile.ZIP_DEFLATED)
    with pytest.raises(HwsimError, match=r"in one folder|stored, not compressed"):
        hwsim.load(path)
    packed({"serialized_state_dict.pt": b"x"}, path)
    with pytest.raises(HwsimError, match=r"torch 2\.8 or later"):
        hwsim.load(path)


def test_a_float_program_is_told_what_quantizes_it():
    import torch

    program = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(1, 3),))
    with pytest.raises(
        HwsimError, match=r"must be quantized: prepare_pt2e.* once more; or hwsim.quantize$"
    ):
        hwsim.load(program)


def test_a_layer_that_executorch_cannot_lower_is_refused_and_torch_is_named():
    import torch.nn.functional as F
    from support.exported import Maker
    from support.exported_operators import conv

    maker = Maker(np.random.default_rng(base()))
    program = maker.exported(conv(4, 3, 3, 3, after=F.hardswish)(maker))
    with pytest.raises(HwsimError, match=r"quantizer must stand right behind it.*like='torch'"):
        hwsim.load(program)
    feeds = maker.feeds(SAMPLES)
    (got,) = by_hwsim(hwsim.load(program, like="torch"), feeds)
    assert (got != by_torch(program, feeds)[0]).sum() == 0


def test_unsigned_activations_are_torchs_alone():
    from support.exported import Maker
    from support.exported_operators import OPERATORS

    maker = Maker(np.random.default_rng(base()), unsigned=True)
    program = maker.exported(OPERATORS["linear"][0](maker))
    with pytest.raises(HwsimError, match="activations of int8, not uint8; like='torch'"):
        hwsim.load(program)
    feeds = maker.feeds(SAMPLES)
    (got,) = by_hwsim(hwsim.load(program, like="torch"), feeds)
    assert (got != by_torch(program, feeds)[0]).sum() <= 1


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
def test_a_module_of_an_exported_program_is_read_as_the_program():
    maker, program = drawn("conv2d", 0, powers=False)
    (x,) = maker.feeds(1)
    for like in (None, "executorch", "torch"):
        graph = hwsim.load(program.module(), example=x, like=like)
        assert graph.hash() == hwsim.load(program, like=like).hash()
    with pytest.raises(HwsimError, match="must be one of executorch, torch, not 'x86'"):
        hwsim.load(program.module(), example=x, like="x86")
    with pytest.raises(HwsimError, match=r"needs an example of its input.*load\(module, example=x"):
        hwsim.load(program.module())
    with pytest.raises(
        HwsimError, match=r"torch\.export\.export\(module, \(x,\)\).*raises"
    ) as refused:
        hwsim.load(program.module(), example=x[..., :-1])
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
def test_of_modules_on_the_way_to_one_the_next_step_is_named():
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    example = (torch.randn(1, 6),)
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    exported = torch.export.export(network.eval(), example).module()
    with pytest.raises(HwsimError, match="must be quantized: prepare_pt2e"):
        hwsim.load(exported, example=(1, 6))
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported, quantizer)
    prepared(*example)
    with pytest.raises(HwsimError, match=r"converted, not only prepared.*convert_pt2e does it"):
        hwsim.load(prepared, example=(1, 6))
    converted = convert_pt2e(prepared)
    within = torch.nn.Sequential(converted, torch.nn.Identity())
    program = torch.export.export(converted, example)
    for module in (converted, within):
        graph = hwsim.load(module, example=(1, 6), like="torch")
        assert graph.hash() == hwsim.load(program, like="torch").hash()


def test_a_layer_that_is_used_twice_keeps_the_codes_of_its_first_bias():
    """As ExecuTorch writes a bias into a delegate, once; where the scale is another it warns."""
    import torch.nn.functional as F
    from support.exported import Maker

    maker = Maker(np.random.default_rng(base()))
    maker.input(4)
    first, between, last = maker.meaning(0.05, 0), maker.meaning(0.4, 0), maker.meaning(0.9)
    weights, bias = maker.weights(4, 4), maker.bias(4, 3.0)

    def forward(module, x):
        layer = weights(module), bias(module)
        return last(F.linear(between(F.linear(first(x), *layer)), *layer))

    program = maker.exported(forward)
    with pytest.warns(RuntimeDifference, match="an earlier layer of another scale has the same"):
        graph = hwsim.load(program)
    one, two = (node.op.bias for node in graph.nodes if node.op.kind == "dense")
    assert np.array_equal(one, two) and one.any()
    exact, rounded = (
        [node.op for node in hwsim.load(program, like=like).nodes if node.op.kind == "dense"][1]
        for like in ("torch", "executorch")
    )
    assert exact.bias_frac > 0 and rounded.bias_frac == 0


def test_another_runtime_is_refused(members, path):
    packed(members, path)
    with pytest.raises(HwsimError, match="must be one of executorch, torch, not 'tflm'"):
        hwsim.load(path, like="tflm")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["dropout", "feature_dropout", "dropout_"])
def test_a_dropout_that_drops_is_refused(name):
    import torch
    from support.exported import Maker

    maker = Maker(np.random.default_rng(base()))
    maker.input(4, 6)
    first, last = maker.meaning(), maker.meaning()
    drop = getattr(torch.ops.aten, name).default
    for p in (0.5, 0.0):
        program = maker.exported(lambda _, x, p=p: last(drop(first(x), p, True)))
        if p:
            with pytest.raises(HwsimError, match="must not drop anything"):
                hwsim.load(program)
        else:
            hwsim.load(program)


@pytest.mark.parametrize("count", [20, pytest.param(3400, marks=pytest.mark.slow)])
def test_damaged_archives_are_sentences(count, path, rng):
    said: list[str | None] = []
    for name in DAMAGED:
        model = packed(archive(drawn(name, 0, powers=True)[1]), path).read_bytes()
        files = (mutated(model, rng) if k % 3 else mutated_member(model, rng) for k in range(count))
        said += sentences(hwsim.load, files, path)
    print(f"{said.count(None)} of {len(said)} read, {len(set(said))} sentences")
    assert 30 < sum(text is not None for text in said) < len(said)
