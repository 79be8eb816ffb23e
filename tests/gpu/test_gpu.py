"""The GPU runs every case to NumPy's integers; without one, the same text on the array API does."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.cases import CASES, tensor
from support.chains import KERNELS, OWN_WAY, chains, ways
from support.streams import STREAMS, as_dict

import gpu
import gpu.run
import hwsim
from gpu import device
from hwsim.emulator.run import Emulator, emulate, trace
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import OPERATORS, Relu, Table

MODELS = Path(__file__).parents[2] / "examples" / "models"
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
on_strict = pytest.mark.needs("array_api_strict")  # which a machine with a GPU need not have


class StandIn(ModuleType):
    """The array API with the two names that CuPy adds to it."""

    def __init__(self) -> None:
        super().__init__("array_api_strict")
        self.strict = importlib.import_module("array_api_strict")
        self.ndarray = type(self.strict.asarray(0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.strict, name)

    @staticmethod
    def asnumpy(array: Any) -> np.ndarray:
        return np.asarray(array)


@pytest.fixture
def without_gpu(monkeypatch):
    """The array API in CuPy's place."""
    stand_in = StandIn()
    monkeypatch.setattr(gpu.run, "namespace", lambda: stand_in)


@pytest.mark.needs("gpu")
@by_case
def test_a_gpu_gives_numpys_codes(case, seed):
    inputs, graph = case.inputs(6, seed), case.graph()
    want = case.by_name(emulate(graph, inputs, codes=True))
    for name, got in case.by_name(gpu.emulate(graph, inputs, codes=True)).items():
        assert isinstance(got, np.ndarray) and got.dtype == np.int64
        assert got.tolist() == want[name].tolist()


@pytest.mark.needs("gpu")
def test_every_kernel_gives_its_operators_codes(seed):
    xp = gpu.namespace()
    for case in (case for case in CASES if type(case.op) in gpu.KERNELS):
        graph, inputs = case.graph(), case.inputs(6, seed)
        with_kernel, without = (Emulator(graph, xp, kernels) for kernels in (gpu.KERNELS, None))
        codes = without.encode(inputs, codes=True)
        assert bool(xp.all(with_kernel.run(codes)["y"] == without.run(codes)["y"])), case.id


@pytest.mark.needs("gpu")
def test_a_large_batch_on_a_gpu_gives_numpys_codes(seed):
    case = next(case for case in CASES if case.id == "conv2d-zero-point")
    inputs, graph = case.inputs(20_000, seed), case.graph()
    expected = emulate(graph, inputs, codes=True)
    assert np.array_equal(gpu.emulate(graph, inputs, codes=True), expected)
    on_device = {name: gpu.namespace().asarray(x) for name, x in inputs.items()}
    got = gpu.emulate(graph, on_device, codes=True)
    assert not isinstance(got, np.ndarray) and np.array_equal(got.get(), expected)


@pytest.mark.needs("gpu")
@by_case
def test_chains_on_a_gpu_give_numpys_codes(case, seed):
    """As gpu.emulate runs them, and with kernels that keep their constants their own way."""
    xp, codes = gpu.namespace(), case.inputs(3, seed)
    for graph in chains(case):
        for found in ways(gpu.run.planned(graph, xp), codes):
            assert found == next(ways(Emulator(graph), codes))
        for kernels in ({type(case.op): OWN_WAY}, KERNELS):
            emulator = Emulator(graph, xp, kernels, rewrites=gpu.REWRITES)
            assert next(ways(emulator, codes)) == next(ways(Emulator(graph), codes))


@pytest.mark.needs("gpu")
@pytest.mark.parametrize("path", sorted(MODELS.glob("*[!t].onnx")), ids=lambda path: path.stem)
def test_example_models_on_a_gpu_give_numpys_codes_on_every_edge(path, seed):
    graph, rng = hwsim.load(path), np.random.default_rng(seed)
    (port,) = graph.inputs
    shape = hwsim.graph.user_shape(port.type, port)
    x = rng.integers(0, 17, (300, *shape)).astype(np.float32) / 16
    for codes, given in ((False, x), (True, rng.integers(port.type.lo, port.type.hi + 1, x.shape))):
        got, expected = gpu.emulate(graph, given, codes), emulate(graph, given, codes=codes)
        assert got.dtype == expected.dtype and np.array_equal(got, expected)
    edges, expected = gpu.trace(graph, x), trace(graph, x)
    assert edges.keys() == expected.keys() and len(edges) > 8
    assert all(np.array_equal(edges[edge], expected[edge]) for edge in edges)


@on_strict
@by_case
def test_the_gpus_text_gives_numpys_codes_on_the_array_api(case, seed, without_gpu):
    inputs, graph = case.inputs(3, seed), case.graph()
    want = case.by_name(emulate(graph, inputs, codes=True))
    for name, got in case.by_name(gpu.emulate(graph, inputs, codes=True)).items():
        assert isinstance(got, np.ndarray) and got.dtype == np.int64
        assert got.tolist() == want[name].tolist()
    edges = gpu.trace(graph, inputs, codes=True)
    expected = trace(graph, inputs, codes=True)
    assert edges.keys() == expected.keys()
    assert all(np.array_equal(edges[edge], expected[edge]) for edge in edges)


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("array API", marks=on_strict),
        pytest.param("GPU", marks=pytest.mark.needs("gpu")),
    ],
)
@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.id)
def test_state_is_carried_to_numpys_codes(stream, device, seed, monkeypatch):
    """All steps at once, one at a time, and every edge, on a GPU or by the same text without."""
    if device != "GPU":
        stand_in = StandIn()
        monkeypatch.setattr(gpu.run, "namespace", lambda: stand_in)
    graph, x = stream.graph(), stream.codes(5, 4, seed)
    want, edges = as_dict(graph, emulate(graph, x, codes=True)), trace(graph, x, codes=True)
    got = as_dict(graph, gpu.emulate(graph, x, codes=True))
    assert all(type(y) is np.ndarray and y.tolist() == want[n].tolist() for n, y in got.items())
    traced = gpu.trace(graph, x, codes=True)
    assert traced.keys() == edges.keys()
    assert all(np.array_equal(traced[edge], codes) for edge, codes in edges.items())
    state = None
    for at in range(4):
        now = {name: codes[:, at] for name, codes in x.items()}
        y, state = gpu.step(graph, now, state, codes=True)
        assert all(type(codes) is np.ndarray for codes in state.values())
        for name, one in as_dict(graph, y).items():
            assert one.tolist() == want[name][:, at].tolist()


def two_outputs() -> Graph:
    inverted = Table(values=np.arange(256)[::-1] - 128, out=Format.int(8))
    nodes = (Node("relu", Relu(), ("x",), "y"), Node("table", inverted, ("x",), "z"))
    port = InputPort(name="x", tensor="x", type=tensor(4))
    return Graph((port,), nodes, tuple(OutputPort(name=n, tensor=n) for n in "yz"))


@on_strict
def test_arrays_come_back_in_the_kind_that_was_given(without_gpu, seed):
    graph, x = two_outputs(), np.random.default_rng(seed).integers(-128, 128, (5, 4))
    expected, xp = emulate(graph, x, codes=True), gpu.run.namespace()
    for given, kind in ((x, np.ndarray), (xp.asarray(x), xp.ndarray)):
        got = gpu.emulate(graph, given, codes=True)
        assert got.keys() == expected.keys() and all(type(v) is kind for v in got.values())
        assert all(np.array_equal(np.asarray(got[k]), expected[k]) for k in got)
        assert all(type(v) is kind for v in gpu.trace(graph, given, codes=True).values())


def test_a_kernel_stands_in_for_its_operator_and_a_wrong_one_is_seen(seed):
    """The override is used, and the comparison above would catch a kernel that is off by one."""
    graph, x = two_outputs(), np.random.default_rng(seed).integers(-128, 128, (5, 4))
    expected = emulate(graph, x, codes=True)

    def fused(op: Relu, xp: Any, xs: Any, constants: Any) -> Any:
        return xp.maximum(xs[0], xp.zeros_like(xs[0]))

    def wrong(op: Relu, xp: Any, xs: Any, constants: Any) -> Any:
        return fused(op, xp, xs, constants) + 1

    results = []
    for kernel in (fused, wrong):
        emulator = Emulator(graph, np, {Relu: kernel})
        results.append(emulator.run(emulator.encode(x, codes=True))["y"])
    assert np.array_equal(results[0], expected["y"])
    assert np.array_equal(results[1], expected["y"] + 1)


def test_kernels_override_only_operators_that_exist():
    assert set(gpu.KERNELS) <= set(OPERATORS.values())


@on_strict
def test_a_graph_is_planned_once(without_gpu):
    graph, stand_in = two_outputs(), gpu.run.namespace()
    first = gpu.run.planned(graph, stand_in)
    assert gpu.run.planned(graph, stand_in) is first
    assert gpu.run.planned(graph, np) is not first


def refusal() -> str:
    with pytest.raises(HwsimError) as error:
        gpu.emulate(two_outputs(), np.zeros((1, 4)))
    return str(error.value)


def test_without_cupy_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert not gpu.available()
    assert refusal() == ('a GPU run needs CuPy, which is not installed (pip install "hwsim[gpu]")')


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "a GPU run needs an NVIDIA GPU, and CuPy finds none"),
        (
            RuntimeError("cudaErrorDriver: too old\nmore"),
            "a GPU run needs an NVIDIA GPU with a driver for CUDA 13 (cudaErrorDriver: too old)",
        ),
    ],
)
def test_without_a_gpu_a_sentence_says_so(monkeypatch, count, text):
    cupy = ModuleType("cupy")

    def devices() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    cupy.cuda = ModuleType("cuda")
    cupy.cuda.runtime = ModuleType("runtime")
    cupy.cuda.runtime.getDeviceCount = devices
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(device, "find_spec", lambda name: object())
    assert not gpu.available() and gpu.missing() == text
    assert refusal() == text


def test_a_cupy_without_the_array_api_is_named(monkeypatch):
    """Whichever of its functions is not there."""
    cupy = ModuleType("cupy")
    cupy.__version__ = "13.6.0"
    cupy.cuda = ModuleType("cuda")
    cupy.cuda.runtime = ModuleType("runtime")
    cupy.cuda.runtime.getDeviceCount = lambda: 1
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(device, "find_spec", lambda name: object())
    for name in device.NEW_FUNCTIONS:
        assert refusal() == "a GPU run needs CuPy 14 or later, not 13.6.0"
        setattr(cupy, name, None)
    assert gpu.missing() is None


@on_strict
def test_float32_products_that_are_rounded_are_refused(monkeypatch):
    """Tensor cores may round float32 to 10 bits, where an environment variable asks for it."""

    class Rounding(StandIn):
        def matmul(self, a: Any, b: Any) -> Any:
            short = np.asarray(a).view(np.int32) & ~0x1FFF
            return self.asarray(short.view(np.float32) @ np.asarray(b))

    assert device.products_are_exact(StandIn()) and device.products_are_exact(np)
    monkeypatch.setattr(device, "missing", lambda: None)
    monkeypatch.setattr(device, "import_module", lambda name: Rounding())
    assert refusal() == (
        "products of float32 on the GPU must be exact, but are rounded; unset CUPY_TF32, "
        "NVIDIA_TF32_OVERRIDE and CUBLAS_EMULATE_SINGLE_PRECISION"
    )


def uses(kind: type[ast.AST]) -> Iterator[Any]:
    """Every node of one kind in the text that runs on an array namespace."""
    root = Path(hwsim.__file__).parent
    files = [root / "fixed.py", *(root / "emulator").glob("*.py"), *(root / "ops").glob("*.py")]
    for file in (*files, Path(device.__file__), Path(gpu.run.__file__)):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield node


def is_used(node: ast.AST) -> bool:
    """Whether an expression is `xp.<name>`."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("xp", "space")
    )


def used_functions() -> set[str]:
    """The names of all."""
    return {node.attr for node in uses(ast.Attribute) if is_used(node)}


ONLY_CUPY = {"asnumpy", "ndarray"}
STANDARD = {"__name__"}


@on_strict
def test_the_text_uses_only_the_array_api():
    strict = importlib.import_module("array_api_strict")
    used = used_functions() - ONLY_CUPY - STANDARD
    assert {"matmul", "permute_dims", "astype", "take", "concat", "clip"} <= used
    assert {name for name in used if not hasattr(strict, name)} == set()


@pytest.mark.needs("cupy")
def test_cupy_has_every_function_that_the_text_uses():
    """CuPy can be imported, though not used, without a GPU."""
    cupy = importlib.import_module("cupy")
    assert {name for name in used_functions() - STANDARD if not hasattr(cupy, name)} == set()


@pytest.mark.needs("cupy")
def test_cupy_takes_the_arguments_of_every_call():
    """By the signatures of its functions; those in compiled code have none."""
    cupy, seen = importlib.import_module("cupy"), set()
    for call in (node for node in uses(ast.Call) if is_used(node.func)):
        try:
            signature = inspect.signature(getattr(cupy, call.func.attr))
        except (TypeError, ValueError):
            continue
        if not any(isinstance(arg, ast.Starred) for arg in call.args):
            signature.bind(*call.args, **{word.arg: word.value for word in call.keywords})
            seen.add(call.func.attr)
    assert {"astype", "take", "concat", "clip", "argmax", "reshape", "full"} <= seen
    with pytest.raises(TypeError):
        inspect.signature(cupy.astype).bind("x", "kind", no_such=1)
