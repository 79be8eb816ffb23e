"""What people give by mistake, on every reader of files: one sentence that says what to do next."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import onnx_models as om
from support import pte_models
from support.cli_calls import tiny
from support.onnx_qlinear import qlinear_conv
from support.pte_models import ADD, CONVERT, Blob
from support.small_ir import ir
from support.streams import STREAMS

import hwsim
from hwsim import HwsimError
from hwsim.frontends import FILES, operators_of
from hwsim.onnx_export import write_model

READ = " or ".join(FILES)
FLOW = (
    "branches and loops have no place in a fixed graph: the branch that is taken, alone, and the "
    "steps of a loop, written out, are read"
)
TORCH = (
    "a PyTorch file, a pickle; the way: torch.onnx.export(module, (x,), 'float.onnx', dynamo=True) "
    "of the module, then onnxruntime.quantization.quantize_static on the ONNX file; or "
    "hwsim.load(module, example=x)"
)


def refusal(path: Path, **options: Any) -> str:
    """The sentence about a file, without its folder."""
    with pytest.raises(HwsimError) as refused:
        hwsim.load(path, **options)
    text = str(refused.value)
    assert "\n" not in text and refused.value.exit_status == 2
    return text.replace(f"{path.parent}/", "")


# A file that is of another kind than its name says


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"m/{name}", b"\x80\x02N.")


def number(path: Path, magic: bytes) -> None:
    path.write_bytes(b"\x1c\0\0\0" + magic + bytes(32))


class Opened:
    """A pickle that leaves a mark where it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.mark),)


KINDS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a module of torch.save": (".pt", lambda p: zipped(p, "data.pkl", "version"), TORCH),
    "TorchScript": (".pt", lambda p: zipped(p, "data.pkl", "constants.pkl"), TORCH),
    "an old torch.save": (
        ".pt",
        lambda p: p.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2)),
        TORCH,
    ),
    "PyTorch Mobile": (
        ".ptl",
        lambda p: zipped(p, "data.pkl", "bytecode.pkl"),
        "a program of PyTorch Mobile",
    ),
    "a pickle": (
        ".pkl",
        lambda p: p.write_bytes(pickle.dumps(Opened(p.with_name("opened")))),
        "a pickle and is not opened; the way: the model in the file format of its framework",
    ),
    "TensorFlow Lite": (
        ".tflite",
        lambda p: number(p, b"TFL3"),
        "a TensorFlow Lite model; the way: a name that ends in .tflite",
    ),
    "ExecuTorch": (
        ".pte",
        lambda p: number(p, b"ET12"),
        "an ExecuTorch program; the way: a name that ends in .pte",
    ),
    "an exported program": (
        ".pt2",
        lambda p: zipped(p, "archive_format"),
        "an exported program of PyTorch; the way: a name that ends in .pt2",
    ),
    "ONNX Runtime's own": (
        ".ort",
        lambda p: number(p, b"ORTM"),
        "an optimized ONNX Runtime file; the way: the .onnx file that it was made from",
    ),
    "HDF5": (".h5", lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(32)), "a Keras model"),
    "Keras": (".keras", lambda p: zipped(p, "model.weights.h5"), "a Keras model"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", FILES)
def test_a_file_of_another_kind_than_its_suffix_is_named_and_never_opened(kind, suffix, tmp_path):
    own, make, said = KINDS[kind]
    path = tmp_path / f"m{suffix}"
    make(path)
    text = refusal(path)
    if suffix != own:
        assert text.startswith(f"m{suffix} must be what its name says ({suffix}), not {said}")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_suffix_is_told_by_what_it_holds(kind, tmp_path):
    own, make, said = KINDS[kind]
    for suffix in (".model", own) if own not in FILES else (".model",):
        make(tmp_path / f"m{suffix}")
        text = refusal(tmp_path / f"m{suffix}")
        assert text.startswith(
            f"a model must be a file that ends in {READ}, not 'm{suffix}', which is {said}"
        )


@pytest.mark.parametrize("suffix", [".model", *FILES])
def test_a_pipe_is_not_waited_for(suffix, tmp_path):
    os.mkfifo(tmp_path / f"m{suffix}")
    assert f"m{suffix}" in refusal(tmp_path / f"m{suffix}")


def test_the_weights_of_an_ir_are_told_the_file_that_is_meant(tmp_path):
    ir(tmp_path)
    assert refusal(tmp_path / "m.bin") == (
        f"a model must be a file that ends in {READ}, not 'm.bin', which is the weights of an "
        "OpenVINO model; the way: the file m.xml beside it"
    )


# ONNX


def quantized(*nodes: Any, x: Any = (None, 4), **constants: Any) -> onnx.ModelProto:
    """An input that is quantized, and what comes behind it."""
    given = {"s": np.float32(0.1), "z": np.int8(0), **constants}
    first = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quant"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequant"),
    ]
    made = [*first, *nodes]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def branch(name: str) -> onnx.GraphProto:
    node = helper.make_node("Identity", ["d"], [name])
    return helper.make_graph(
        [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
    )


def layer(codes: Any, **more: Any) -> tuple[Any, Any]:
    """A dense layer whose weights are of these codes."""
    return (
        helper.make_node("DequantizeLinear", ["w", more.pop("scale", "s")], ["wd"], "wdq", **more),
        helper.make_node("MatMul", ["d", "wd"], ["y"], "mm"),
    )


def if_node() -> Any:
    both = {"then_branch": branch("t"), "else_branch": branch("e")}
    return helper.make_node("If", ["c"], ["y"], "branch", **both)


SUPPORTED = (
    "; onnx.utils.extract_model cuts out the part between two tensors; docs/frontends.md lists "
    "what is supported"
)
MODELS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a branch": (
        lambda: quantized(if_node(), c=np.array(True)),
        f"m.onnx must use supported operators only, but has If ('branch'); what helps: {FLOW}"
        + SUPPORTED,
    ),
    "a loop": (
        lambda: quantized(
            helper.make_node("Loop", ["n", "c", "d"], ["y"], "again", body=branch("b")),
            n=np.array(3),
            c=np.array(True),
        ),
        f"m.onnx must use supported operators only, but has Loop ('again'); what helps: {FLOW}"
        + SUPPORTED,
    ),
    "a scale that is left out": (
        lambda: quantized(helper.make_node("QuantizeLinear", ["d"], ["y"], "bare")),
        "m.onnx: QuantizeLinear 'bare': input 1 must be there",
    ),
    "codes of eight-bit floats": (
        lambda: quantized(
            helper.make_node("QuantizeLinear", ["d", "s"], ["y"], "small", output_dtype=17)
        ),
        (
            "m.onnx: QuantizeLinear 'small': codes and zero points must be whole numbers, not "
            "float8_e4m3fn"
        ),
    ),
    "half floats": (
        lambda: quantized(
            helper.make_node("QuantizeLinear", ["d", "h"], ["y"], "half"), h=np.float16(0.1)
        ),
        (
            "m.onnx: QuantizeLinear 'half': its scale must be float32, not float16, in which the "
            "runtime rounds otherwise; the way: quantize the model while its floats are float32"
        ),
    ),
    "a scale for each block": (
        lambda: quantized(
            *layer(None, scale="b", axis=0, block_size=2),
            w=np.ones((4, 4), np.int8),
            b=np.full((2, 4), 0.1, np.float32),
        ),
        (
            "m.onnx: DequantizeLinear 'wdq': weights must have one scale, or one for each output "
            "channel, not one for each block of 2"
        ),
    ),
    "weights of nothing": (
        lambda: quantized(*layer(None), w=np.zeros((4, 0), np.int8)),
        "m.onnx: DequantizeLinear 'wdq': its codes must hold something, not be of (4, 0)",
    ),
    "an input of nothing": (
        lambda: quantized(x=(None, 0, 4)),
        "m.onnx: input 'x' must have a batch axis and then fixed sizes, not (None, 0, 4)",
    ),
    "a zero point too few": (
        lambda: quantized(z=np.zeros(0, np.int8)),
        (
            "m.onnx: QuantizeLinear 'quant': there must be a zero point for each scale, of which "
            "there are 1, not 0"
        ),
    ),
    "activations per channel": (
        lambda: quantized(s=np.full(4, 0.1, np.float32), z=np.zeros(4, np.int8)),
        (
            "m.onnx: QuantizeLinear 'quant': an activation must have one scale and zero point for "
            "all channels"
        ),
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_an_onnx_file_that_cannot_be_read_is_this_sentence(case, tmp_path):
    build, said = MODELS[case]
    onnx.save(build(), tmp_path / "m.onnx")
    assert refusal(tmp_path / "m.onnx") == said


def test_control_flow_is_listed_among_the_operators(tmp_path):
    onnx.save(quantized(if_node(), c=np.array(True)), tmp_path / "m.onnx")
    why = {one.op: one.why for one in operators_of(tmp_path / "m.onnx")}
    assert why == {"QuantizeLinear": None, "DequantizeLinear": None, "If": FLOW}


def test_a_file_of_whole_numbers_alone_is_told_which_forms_are_read_back(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(om.conv(), path)
    graph = hwsim.load(path)
    for written in (graph, STREAMS[0].graph()):  # the second has no ConvInteger
        write_model(written, path, form="integer", samples=0)
        assert refusal(path) == (
            "m.onnx must say by QuantizeLinear, QLinear or Quant operators what its numbers mean, "
            "but has whole numbers in plain operators, which are not read back; of what hwsim "
            "to-onnx writes, --as qdq and --as qonnx are read, and Graph.save keeps a Graph"
        )


# Whose integers


@pytest.mark.parametrize(
    ("suffix", "known"),
    [
        (".onnx", "onnxruntime, tvm, tensorrt, openvino"),
        (".tflite", "tflm, reference, builtin, xnnpack"),
        (".xml", "openvino"),
        (".pt2", "executorch, torch"),
        (".pte", "executorch"),
    ],
)
def test_a_runtime_that_does_not_read_such_files_is_told_those_that_do(suffix, known, tmp_path):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"anything")
    for like in ("tflite", "", "ONNXRuntime"):
        assert refusal(path, like=like) == (
            f"m{suffix}: what the model is to be like must be one of {known}, not {like!r}"
        )


def test_a_saved_graph_has_no_runtime_to_choose(tmp_path):
    tiny().save(tmp_path / "m.hwsim")
    assert refusal(tmp_path / "m.hwsim", like="tflm") == (
        "m.hwsim: what the model is to be like must be left out: there is one way to read it, not "
        "'tflm'"
    )


def test_a_runtime_that_cannot_run_a_model_is_told_which_can(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(qlinear_conv(), path)
    for like, name in (("openvino", "OpenVINO"), ("tvm", "TVM"), ("tensorrt", "TensorRT")):
        assert refusal(path, like=like) == (
            f"m.onnx must use operators that {name} has, but has QLinearConv ('y_q'); ONNX "
            "Runtime has them: leave out what the model is to be like, or say 'onnxruntime'"
        )
    onnx.save(quantized(z=np.int8(3)), path)
    assert refusal(path, like="tensorrt").endswith(
        "; onnxruntime, openvino and tvm take it as it is"
    )


# OpenVINO


def test_the_weights_of_an_ir_must_be_whole_and_beside_it(tmp_path):
    path = ir(tmp_path)
    hwsim.load(path)
    ir(tmp_path, data=bytes(6))
    assert refusal(path) == ("m.xml: Const 'end2': bytes 4 to 8 must lie in the .bin, which has 6")
    (tmp_path / "m.bin").unlink()
    assert refusal(path) == (
        "m.xml: Const 'end1': its weights must be in the .bin beside the .xml, which is missing"
    )
    (tmp_path / "within").mkdir()
    for target in ("../m.bin", "within/m.bin"):
        (tmp_path / "m.bin").symlink_to(target)
        assert refusal(path) == "m.bin must lie in the folder of m.xml, not lead out of it"
        (tmp_path / "m.bin").unlink()
    (tmp_path / "m.bin").mkdir()
    assert refusal(path) == "m.bin must be the weights of the OpenVINO model, not a folder"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("MyOwn", "has MyOwn ('quant'); docs/openvino.md lists what is supported"),
        ("If", f"has If ('quant'); what helps: {FLOW}; docs/openvino.md lists what is supported"),
    ],
)
def test_operations_that_are_not_read_are_named_and_listed(kind, said, tmp_path):
    path = ir(tmp_path)
    text = path.read_text()
    more = text.replace('<layer id="4"', f'<layer id="9" name="quant" type="{kind}"/><layer id="4"')
    path.write_text(more)
    assert refusal(path) == f"m.xml must use supported operations only, but {said}"
    why = {one.op: one.why for one in operators_of(path)}
    assert why[kind] == "no rule of it is known" and why["FakeQuantize"] is None


def test_a_float_ir_an_empty_one_and_a_quantizer_that_is_not_fed_are_sentences(tmp_path):
    assert refusal(ir(tmp_path, kind="Clamp")) == (
        "m.xml must be quantized, but has no FakeQuantize; nncf.quantize with some typical inputs "
        "makes it so"
    )
    assert refusal(ir(tmp_path, shape=0)) == (
        "m.xml: input 'x' must have a batch axis and then fixed sizes, not (None, 0)"
    )
    path = ir(tmp_path)
    path.write_text(
        path.read_text().replace('to-layer="3" to-port="4"', 'to-layer="3" to-port="7"')
    )
    assert refusal(path) == "m.xml: FakeQuantize 'quant': its input at port 4 must be fed"


# ExecuTorch


def added(**meaning: Any) -> Blob:
    """A sum of two tensors that lie in floats, or in codes."""
    blob = Blob()
    x, y, total = (blob.tensor(1, 4, **meaning) for _ in range(3))
    blob.node(ADD, x, y, total)
    return blob


def written(folder: Path, blob: Blob, ends: tuple[list[int], list[int]]) -> Path:
    path = folder / "m.pte"
    shapes = [(1, 4)] * len(ends[0])
    path.write_bytes(pte_models.program(blob.build(*ends), shapes, [(1, 4)]))
    return path


def test_a_float_and_a_dynamically_quantized_program_are_told_what_quantizes_them(tmp_path):
    ends = ([0, 1], [2])
    assert refusal(written(tmp_path, added(), ends)) == (
        "m.pte must be quantized: prepare_pt2e, calibrate, convert_pt2e, and torch.export.export "
        "once more, then lowered for XNNPACK"
    )
    blob = Blob()
    x, codes, y = blob.tensor(1, 4), blob.tensor(1, 4, scale=0.5), blob.tensor(1, 4)
    blob.values[codes]["kind"] = 9
    blob.node(CONVERT, x, codes)
    blob.node(CONVERT, codes, y)
    assert refusal(written(tmp_path, blob, ([x], [y]))) == (
        "m.pte must be quantized with fixed scales, but finds them anew for each input; what "
        "helps: a quantizer whose activations have fixed scales, as "
        "get_symmetric_quantization_config gives with is_dynamic=False, and some typical inputs"
    )
