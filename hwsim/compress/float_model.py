"""A float network as an ONNX graph: prepared once, run with any of its tensors as outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prepared.prepare import prepare, trains
from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.frontends.onnx.file import from_proto, read_file
from hwsim.frontends.onnx.fused_norms import norms
from hwsim.storage import write_atomically

Reals = npt.NDArray[np.float32]
Batch = Mapping[str, npt.NDArray[Any]]
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
EXTRA = '"hwsim[train]"'
WHAT = "a float model"


@dataclass(frozen=True, slots=True, eq=False)
class FloatModel:
    """A float model that is ready to be quantized: constants folded, batch norms in the layers.

    `proto` is the prepared model, `path` what messages call it.
    """

    path: Path
    proto: Any

    @classmethod
    def read(cls, path: Path) -> FloatModel:
        """The model of a file; HwsimError names what is wrong with it."""
        import onnx

        read_file(path)  # refuses what must not be opened
        return cls.of(onnx.load(str(path)), path)

    @classmethod
    def of(cls, proto: Any, path: Path) -> FloatModel:
        """The model of a ModelProto."""
        from_proto(proto, path)
        if training := trains(proto):
            raise HwsimError(
                f"{path} must be exported for inference (model.eval() in PyTorch), not in training "
                f"mode, as {', '.join(training)}"
            )
        return cls(path, _prepared(proto, path))

    def with_constants(self, new: Mapping[str, npt.NDArray[Any]]) -> FloatModel:
        """The same model with other values of some constants, as float32."""
        import onnx
        from onnx import numpy_helper

        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for tensor in proto.graph.initializer:
            if tensor.name in new:
                values = np.asarray(new[tensor.name], np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return FloatModel(self.path, proto)

    @property
    def nodes(self) -> Sequence[Any]:
        """Nodes in an order of computation."""
        return tuple(self.proto.graph.node)

    @property
    def constants(self) -> dict[str, npt.NDArray[Any]]:
        """Constant tensors by name."""
        from onnx import numpy_helper

        return {t.name: numpy_helper.to_array(t) for t in self.proto.graph.initializer}

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        held = {t.name for t in self.proto.graph.initializer}
        return tuple(p.name for p in self.proto.graph.input if p.name not in held)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(p.name for p in self.proto.graph.output)

    @property
    def batch(self) -> int | None:
        """The only number of samples that the model takes; None where it takes any."""
        for port in self.proto.graph.input:
            if port.name in self.inputs and port.type.tensor_type.shape.dim:
                return int(port.type.tensor_type.shape.dim[0].dim_value) or None
        return None

    def run(self, batches: Iterable[Batch], tensors: Sequence[str]) -> Iterator[dict[str, Reals]]:
        """The tensors of that name for each batch by input name, one batch in memory at a time.

        A model of a fixed batch runs once for each so many samples, the last of them repeated.
        """
        return map(self.runner(tensors), batches)

    def runner(self, tensors: Sequence[str]) -> Callable[[Batch], dict[str, Reals]]:
        """A function from a batch by input name to the tensors of that name."""
        import onnx

        shown = onnx.ModelProto()
        shown.CopyFrom(self.proto)
        have = set(self.outputs)
        shown.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in have
        )
        session = _session(shown.SerializeToString(), self.path, optimize=False)
        kept = [name for name in tensors if name not in self.inputs]

        def run(batch: Batch) -> dict[str, Reals]:
            found = self._computed(session, batch, kept) if kept else {}
            return {
                **found,
                **{name: np.asarray(batch[name]) for name in self.inputs if name in tensors},
            }

        return run

    def _computed(self, session: Any, batch: Batch, kept: list[str]) -> dict[str, Reals]:
        size = self.batch
        try:
            if size is None:
                return dict(zip(kept, session.run(kept, dict(batch)), strict=True))
            count, parts = len(next(iter(batch.values()))), []
            for start in range(0, count, size):
                places = np.minimum(np.arange(start, start + size), count - 1)
                found = session.run(kept, {name: x[places] for name, x in batch.items()})
                parts.append([a[: count - start] if len(a) == size else a for a in found])
            whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
            return dict(zip(kept, whole, strict=True))
        except Exception as error:  # ONNX Runtime's classes have no base of their own
            said = " ".join(str(error).split())[:200]
            raise HwsimError(f"{self.path} must run on the samples ({said})") from None


def _session(
    model: bytes,
    path: Path,
    *,
    optimize: bool,
    out: Path | None = None,
    without: Sequence[str] = (),
) -> Any:
    runtime = library("onnxruntime", EXTRA, WHAT)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    level = runtime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_BASIC if optimize else level.ORT_DISABLE_ALL
    if out is not None:
        options.optimized_model_filepath = str(out)
    try:
        return runtime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=[*without]
        )
    except Exception as error:  # ONNX Runtime's classes have no base of their own
        said = " ".join(str(error).split())[:200]
        raise HwsimError(f"{path} must be a model that ONNX Runtime loads ({said})") from None


def _prepared(proto: Any, path: Path) -> Any:
    """Constants folded and batch norms in the layers before them, by ONNX Runtime.

    A model that computes shapes from a free batch gets a batch of 1, so that they are constants.
    """
    import onnx

    found = _optimized(proto, path)
    if any(node.op_type == "Shape" for node in found.graph.node):
        fixed = onnx.ModelProto()
        fixed.CopyFrom(proto)
        held = {t.name for t in proto.graph.initializer}
        for port in fixed.graph.input:
            axes = port.type.tensor_type.shape.dim
            if port.name not in held and axes and not axes[0].dim_value:
                axes[0].dim_value = 1
        fixed.graph.ClearField("value_info")
        found = _optimized(fixed, path)
    return found


def _optimized(proto: Any, path: Path) -> Any:
    """Optimized, and prepared. Transposes that are moved into a normalization's parts stay."""
    found = _prepare(proto, path)
    kinds = {node.op_type for node in found.graph.node}
    if not {"Sqrt", "Transpose"} <= kinds:
        return found
    kept = _prepare(proto, path, without=("TransposeOptimizer",))
    more = _parts(kept) > _parts(found)
    return kept if more else found


def _parts(proto: Any) -> int:
    """Tensors within normalizations."""
    return sum(len(one.gone) for one in norms(from_proto(proto)))


def _prepare(proto: Any, path: Path, *, without: Sequence[str] = ()) -> Any:
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "prepared.onnx"
        model = proto.SerializeToString()
        try:
            _session(model, path, optimize=True, out=out, without=without)
        except HwsimError:  # which is the model's fault only where the disk takes as much
            write_atomically(out, model)
            raise
        found = onnx.load(str(out))
    shaped = _shaped(found)
    prepare(shaped)
    return _shaped(shaped)


def _shaped(proto: Any) -> Any:
    """The same with the shapes of tensors, where they can be told."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=False)
    except Exception:  # no shapes, then
        return proto
