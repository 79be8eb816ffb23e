"""Something tiny for each library to do; the doctor runs this file with a name, in its own process.

Each trial prints one line that says what it did, and raises where that came out wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def equal(found: object, expected: object) -> None:
    """Raise ValueError with both values unless they are equal."""
    if found != expected:
        raise ValueError(f"it gave {found!r}, not {expected!r}")


def numpy() -> None:
    import numpy as np

    a = np.arange(12, dtype=np.int64).reshape(3, 4)
    equal(int((a @ a.T)[2, 2]), 366)
    print("multiplied two integer matrices")


def safetensors() -> None:
    import numpy as np
    from safetensors.numpy import load, save

    equal(load(save({"x": np.arange(3)}))["x"].tolist(), [0, 1, 2])
    print("wrote and read a tensor")


def _relu() -> bytes:
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "tiny", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


def onnx() -> None:
    import onnx

    model = onnx.load_from_string(_relu())
    onnx.checker.check_model(model)
    equal([node.op_type for node in model.graph.node], ["Relu"])
    print("wrote, read and checked a model")


def onnxruntime() -> None:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(_relu(), providers=["CPUExecutionProvider"])
    equal(session.run(None, {"x": np.array([-1, 2], np.float32)})[0].tolist(), [0, 2])
    print("ran a model")


def cupy() -> None:
    import cupy

    if not cupy.cuda.is_available():
        raise ValueError("no CUDA device: it takes an NVIDIA GPU and a driver for CUDA 13")
    a = cupy.arange(12).reshape(3, 4)
    equal(int((a @ a.T)[2, 2]), 366)
    print("multiplied on", cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())


def nvrtc() -> None:
    import cupy  # noqa: F401  (it finds the libraries)
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram("__global__ void k(int *x) { *x = 1; }", "k.cu", (), ())
    nvrtc.compileProgram(program, ("--gpu-architecture=sm_90",))
    equal(len(nvrtc.getCUBIN(program)) > 0, True)
    print("compiled a kernel for sm_90")


def amaranth() -> None:
    from amaranth import Module, Signal
    from amaranth.sim import Simulator

    m, count = Module(), Signal(4)
    m.d.sync += count.eq(count + 1)
    seen: list[int] = []

    async def bench(ctx: Any) -> None:
        await ctx.tick().repeat(5)
        seen.append(ctx.get(count))

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    equal(seen, [5])
    print("simulated a counter")


COCOTB_BENCH = """
import cocotb
from cocotb.triggers import Timer

@cocotb.test()
async def inverts(dut):
    for a in (0, 1):
        dut.a.value = a
        await Timer(1)
        assert dut.y.value == 1 - a
"""


def cocotb() -> None:
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    from rtl.flow import tools

    os.environ.update(tools.environment(simulate=True), MAKEFLAGS=QUICK)
    sys.path.insert(0, os.getcwd())  # the runner hands sys.path on to the simulation
    Path("tiny.v").write_text(
        "module tiny(input a, output y); assign y = !a; endmodule\n", encoding="utf-8"
    )
    Path("bench.py").write_text(COCOTB_BENCH, encoding="utf-8")
    runner = get_runner("verilator")
    runner.build(
        sources=["tiny.v"],
        hdl_toplevel="tiny",
        timescale=("1ns", "1ns"),
        build_dir="build",
        log_file="build.log",
    )
    results = runner.test(
        hdl_toplevel="tiny", test_module="bench", build_dir="build", log_file="test.log"
    )
    equal(get_results(results), (1, 0))
    print("tested an inverter in Verilator")


QUICK = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
"""MAKEFLAGS: optimizing Verilator's own library would take most of the time."""


def hls4ml() -> None:
    from hls4ml.backends import get_available_backends
    from hls4ml.backends.fpga.fpga_types import APTypeConverter
    from hls4ml.model.types import FixedPrecisionType

    written = APTypeConverter().convert(FixedPrecisionType(16, 6)).definition_cpp()
    equal(written, "ap_fixed<16,6>")
    equal("vitis" in get_available_backends(), True)
    print("wrote ap_fixed<16,6> and has the Vitis backend")


def qonnx() -> None:
    import numpy as np
    from qonnx.custom_op.general.quant import quant

    scale, zero, bits = np.float32(0.5), np.float32(0), np.float32(4)
    x = np.array([0.3, 9.0], np.float32)
    equal(quant(x, scale, zero, bits, True, False, "ROUND").tolist(), [0.5, 3.5])
    print("quantized two numbers")


def torch() -> None:
    import torch

    x = torch.ones(3, requires_grad=True)
    (x * x).sum().backward()
    equal(x.grad.tolist(), [2, 2, 2])
    print("computed a gradient")


def sklearn() -> None:
    from sklearn.datasets import load_digits

    equal(load_digits().images.shape, (1797, 8, 8))
    print("read the digits")


TRIALS: dict[str, Callable[[], None]] = {
    trial.__name__: trial
    for trial in (
        numpy,
        safetensors,
        onnx,
        onnxruntime,
        cupy,
        nvrtc,
        amaranth,
        cocotb,
        hls4ml,
        qonnx,
        torch,
        sklearn,
    )
}

if __name__ == "__main__":
    TRIALS[sys.argv[1]]()
