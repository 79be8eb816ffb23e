"""Whole quantized PyTorch networks against PyTorch: each of its engines, modules of both ways."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from support import torch_modules as made  # noqa: E402
from support import torch_networks as networks  # noqa: E402

import hwsim  # noqa: E402
from hwsim import HwsimError  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402
from hwsim.ops import Transpose  # noqa: E402

pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("engine", made.ENGINES)
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_gives_the_numbers_of_its_engine(name, engine, seed, rng):
    module, shape = networks.quantized(name, engine, seed), networks.NETWORKS[name][1]
    x = rng.normal(0, 1, (100, *shape)).astype(np.float32)
    with made.engine(engine):
        singles = [module(torch.from_numpy(x[i : i + 1])).numpy() for i in range(100)]
        graph = hwsim.load(module, example=(1, *shape))
    wanted, got = np.concatenate(singles), hwsim.emulate(graph, x)
    assert np.unique(wanted).size > 20
    assert got.shape == wanted.shape
    assert int((got != wanted).sum()) == 0


class _Several(torch.nn.Module):
    """Two inputs, one of them quantized already, and three outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.quantize = torch.ao.nn.quantized.Quantize(0.05, 40, torch.quint8)

    def forward(
        self, image: torch.Tensor, codes: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        both = torch.ops.quantized.add(self.quantize(image), codes, 0.07, 90)
        cut = both[:, 1:, ::2].permute(0, 2, 3, 1)
        return both, {"cut": cut.dequantize(), "flat": torch.sigmoid(both).flatten(1)}


def test_several_inputs_and_outputs_keep_their_names_and_order(rng):
    module = _Several().eval()
    image = rng.normal(0, 3, (1, 3, 8, 8)).astype(np.float32)
    codes = rng.integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    given = torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), 0.03, 17)
    with torch.no_grad():
        both, rest = module(torch.from_numpy(image), given)
    graph = hwsim.load(module, example=(image, given))
    assert [port.name for port in graph.inputs] == ["image", "codes"]
    assert [port.name for port in graph.outputs] == ["output0", "output1", "output2"]
    got = hwsim.emulate(graph, {"image": image, "codes": codes})
    assert np.array_equal(got["output0"], both.int_repr().numpy())
    assert np.array_equal(got["output1"], rest["cut"].numpy())
    assert np.array_equal(got["output2"], rest["flat"].int_repr().numpy())


def test_each_layer_is_asked_for_the_engine_that_it_was_packed_for(seed, rng):
    """The engine that is set when the module is read is another one."""
    for engine in made.ENGINES:
        module, shape = networks.quantized("dense", engine, seed), networks.NETWORKS["dense"][1]
        x = rng.normal(0, 1, (200, *shape)).astype(np.float32)
        with made.engine(engine):
            wanted = module(torch.from_numpy(x)).numpy()
        for other in made.ENGINES:
            with made.engine(other):
                graph = hwsim.load(module, example=x[:1])
            assert int((hwsim.emulate(graph, x) != wanted).sum()) == 0, (engine, other)


def test_an_engine_that_is_named_gives_its_own_integers(seed, rng):
    """A module packed for one engine, read like another that it is packed for anew."""
    module, shape = networks.quantized("dense", "fbgemm", seed), networks.NETWORKS["dense"][1]
    x = rng.normal(0, 1, (2000, *shape)).astype(np.float32)
    found = {}
    for engine in made.ENGINES:
        again = copy.deepcopy(module)
        with made.engine(engine):
            for part in again.modules():
                if hasattr(part, "set_weight_bias"):
                    part.set_weight_bias(*part._weight_bias())
            wanted = again(torch.from_numpy(x)).numpy()
        found[engine] = hwsim.emulate(hwsim.load(module, like=engine, example=(1, *shape)), x)
        assert int((found[engine] != wanted).sum()) == 0
    assert (found["fbgemm"] != found["qnnpack"]).any()


def test_a_module_leaves_engine_threads_and_hooks_as_they_were(seed):
    module = networks.quantized("resnet", "fbgemm", seed)
    torch.backends.quantized.engine, threads = "qnnpack", torch.get_num_threads()
    try:
        hwsim.load(module, like="onednn", example=(1, 3, 16, 16))
        assert torch.backends.quantized.engine == "qnnpack"
    finally:
        torch.backends.quantized.engine = "x86"
    assert torch.get_num_threads() == threads
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_reading_a_module_says_nothing_of_what_pytorch_deprecates(seed):
    module = networks.quantized("dense", "x86", seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hwsim.load(module, example=(1, 20))


@pytest.mark.parametrize("clamp", [torch.nn.ReLU6, torch.nn.Hardtanh, torch.nn.ReLU])
@pytest.mark.parametrize("engine", ["qnnpack", "fbgemm"])
def test_a_clamp_puts_its_elements_where_qnnpack_puts_them(clamp, engine, seed, rng):
    """PyTorch 2.13's qnnpack writes channels last as if they lay first, and so does the Graph."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), clamp(), torch.nn.Conv2d(4, 6, 2), clamp()
    )
    x = rng.normal(0, 1, (20, 3, 6, 7)).astype(np.float32)
    with made.engine(engine):
        module = _converted(network, engine, x)
        wanted = module(torch.from_numpy(x)).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeDifference)
            graph = hwsim.load(module, example=x[:2])
    moved = sum(isinstance(node.op, Transpose) for node in graph.nodes)
    assert (moved > 0) == (engine == "qnnpack" and clamp is not torch.nn.ReLU)
    assert int((np.asarray(hwsim.emulate(graph, x)) != wanted).sum()) == 0


def _converted(network: torch.nn.Module, engine: str, x: np.ndarray) -> torch.nn.Module:
    """A float network as FX quantizes it, calibrated on `x`; `made.engine(engine)` is around."""
    mapping = networks.tq.get_default_qconfig_mapping(engine)
    ready = networks.prepare_fx(network.eval(), mapping, (torch.from_numpy(x[:1]),))
    ready(torch.from_numpy(x))
    converted: torch.nn.Module = networks.convert_fx(ready)
    return converted


class _Softmax(torch.nn.Module):
    """The function, which FX leaves in float32, as it does not leave the module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, 1)


@pytest.mark.parametrize("last", [_Softmax(), torch.nn.LogSoftmax(-1)], ids=str)
def test_a_softmax_of_reals_at_the_end_is_a_step_of_the_port_and_announced(last, seed, rng):
    torch.manual_seed(seed)
    x = rng.normal(0, 1, (100, 12)).astype(np.float32)
    with made.engine("fbgemm"):
        module = _converted(torch.nn.Sequential(torch.nn.Linear(12, 7), last), "fbgemm", x)
        wanted = module(torch.from_numpy(x)).numpy()
        with pytest.warns(RuntimeDifference, match="softmax in float32 may have other last bits"):
            graph = hwsim.load(module, example=x[:1])
    got = np.asarray(hwsim.emulate(graph, x))
    assert np.abs(got - wanted).max() <= 2e-6
    mixed = np.roll(wanted, 1, axis=1)
    assert np.abs(got - mixed).max() > 1e-3


def test_a_softmax_that_something_reads_is_a_sentence(rng):
    class _Read(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)
            return torch.softmax(q.dequantize(), 1) + 1

    with pytest.raises(HwsimError) as refused:
        hwsim.load(_Read().eval(), example=(1, 5))
    assert str(refused.value) == "add: a softmax must stand at the end of the module"


def _float() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2)).eval()


def _prepared() -> torch.nn.Module:
    network = torch.nn.Sequential(networks.tq.QuantStub(), torch.nn.Linear(3, 2)).eval()
    network.qconfig = networks.tq.get_default_qconfig("x86")
    prepared: torch.nn.Module = networks.tq.prepare(network)
    return prepared


def _dynamic() -> torch.nn.Module:
    found: torch.nn.Module = networks.tq.quantize_dynamic(_float())
    return found


def _prepared_by_fx() -> torch.nn.Module:
    mapping = networks.tq.get_default_qconfig_mapping("x86")
    prepared: torch.nn.Module = networks.prepare_fx(_float(), mapping, (torch.zeros(1, 3),))
    return prepared


class _Deciding(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quantize = networks.tq.QuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)
        return torch.relu(q) if x.sum() > 0 else q


class _Batched(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.quantize_per_tensor(x, 0.1, 3, torch.quint8).transpose(0, 1)


REFUSED = {
    "float": (
        _float,
        {"example": (1, 3)},
        (
            "a PyTorch module must be quantized (torch.ao.quantization, Brevitas), not a float "
            "Sequential; the way: hwsim.quantize(module, images), or torch.onnx.export(module, "
            "(x,), 'float.onnx', dynamo=True), then onnxruntime.quantization.quantize_static on "
            "the ONNX file"
        ),
    ),
    "prepared": (
        _prepared,
        {"example": (1, 3)},
        (
            "a PyTorch module must be converted, not only prepared as this Sequential is; "
            "torch.ao.quantization.convert(module), convert_fx or convert_pt2e does it"
        ),
    ),
    "prepared by FX": (
        _prepared_by_fx,
        {"example": (1, 3)},
        (
            "a PyTorch module must be converted, not only prepared as this GraphModule is; "
            "torch.ao.quantization.convert(module), convert_fx or convert_pt2e does it"
        ),
    ),
    "dynamic": (
        _dynamic,
        {"example": (1, 3)},
        (
            "a PyTorch module must be quantized with fixed scales, not as this Sequential, which "
            "finds scales anew for each input; instead of quantize_dynamic use prepare and convert"
        ),
    ),
    "recurrent": (
        lambda: torch.nn.Sequential(torch.nn.LSTM(4, 5)).eval(),
        {"example": (1, 3, 4)},
        "a module must have no recurrent layer, but its part '0' is one (LSTM)",
    ),
    "another shape": (
        lambda: networks.quantized("dense", "x86", 1),
        {"example": (1, 21)},
        (
            "the module must run on its example of shape (1, 21), but it raised RuntimeError (The "
            "number of rows in the packB should be equal to K: 21)"
        ),
    ),
    "another type": (
        lambda: networks.quantized("dense", "x86", 1),
        {"example": np.zeros((1, 20), np.int64)},
        (
            "the module must run on its example of shape (1, 20), but it raised RuntimeError "
            "(Quantize only works on Float Tensor, got Long)"
        ),
    ),
    "without an example": (
        lambda: networks.quantized("dense", "x86", 1),
        {},
        (
            "a module in memory is read by running it once, and so needs an example of its input "
            "(or its shape, the batch first): hwsim.load(module, example=x)"
        ),
    ),
    "by values": (lambda: _Deciding().eval(), {"example": (1, 3)}, "must not depend on the values"),
    "batch": (lambda: _Batched().eval(), {"example": (1, 3)}, "must leave the batch first"),
    "training": (
        _Batched,
        {"example": (1, 3)},
        "a module must be in evaluation mode, but it is in training; module.eval() does it",
    ),
    "engine": (
        lambda: networks.quantized("dense", "x86", 1),
        {"example": (1, 20), "like": "tflm"},
        "must be one of fbgemm, qnnpack, onednn, x86, executorch, torch, not 'tflm'",
    ),
    "program": (
        lambda: networks.quantized("dense", "x86", 1),
        {"example": (1, 20), "like": "executorch"},
        "must be left out or name an engine, not 'executorch', which runs exported programs",
    ),
    "one number": (lambda: _Batched().eval(), {"example": 3.5}, "a batch and at least one"),
    "words": (lambda: _Batched().eval(), {"example": "x"}, "must be an array, a tensor or a shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_module_that_is_not_read_is_a_sentence(name):
    build, how, wanted = REFUSED[name]
    with pytest.raises(HwsimError) as refused:
        hwsim.load(build(), **how)
    assert wanted in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_engine_that_this_pytorch_lacks_is_a_sentence(monkeypatch):
    module = networks.quantized("dense", "x86", 1)
    kind = type(torch.backends.quantized)
    monkeypatch.setattr(kind, "supported_engines", ["none", "fbgemm", "x86"])
    with pytest.raises(HwsimError) as refused:
        hwsim.load(module, like="qnnpack", example=(1, 20))
    assert str(refused.value) == (
        "what a PyTorch module is to be like must be an engine that PyTorch has here, one of "
        "fbgemm, x86, not 'qnnpack'"
    )


def test_an_example_is_for_modules_only():
    with pytest.raises(HwsimError, match="an example must be left out"):
        hwsim.load("examples/models/digits_cnn_int8.onnx", example=(1, 3))
