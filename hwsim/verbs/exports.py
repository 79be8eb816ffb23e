"""A model for other tools: hls4ml, ONNX, Model Explorer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim import defaults
from hwsim.frontends import as_graph


def to_hls4ml(
    model: Any,
    output_dir: str | Path,
    *,
    backend: str = "Vitis",
    io_type: str = "io_parallel",
    strategy: str = "Latency",
    reuse_factor: int = 1,
    project_name: str = "myproject",
    integers: bool = False,
) -> Any:
    """A model as an hls4ml `ModelGraph` with every precision explicit, whose csim gives its codes.

    `model` is a Graph or what `load` takes. `write()` puts the project into `output_dir`,
    `compile()` and `predict(x)` run its C++; arrays are channels last, and reals. `backend` is
    Vitis or Vivado. `strategy` and `reuse_factor` are those of layers whose sums do not depend on
    the order; a layer whose sums do keeps its own. With `integers` both ends are written
    without what is float32 there: a project then takes and gives codes less their zero point where
    a scale is no power of two.
    Raises HwsimError where hls4ml is missing, and for what has no like in hls4ml, every node in one
    sentence.
    """
    from hwsim.hls4ml_project import to_model

    return to_model(
        as_graph(model),
        output_dir,
        backend=backend,
        io_type=io_type,
        strategy=strategy,
        reuse_factor=reuse_factor,
        project_name=project_name,
        integers=integers,
    )


def to_onnx(
    model: Any,
    out: str | Path | None = None,
    *,
    form: str = "integer",
    integers: bool = False,
    mixed: bool = False,
    samples: int = 16,
) -> Any:
    """A model as an ONNX `ModelProto` whose runtimes give its codes; written to `out` if given.

    `model` is a Graph or what `load` takes. `form` says in which operators: `integer` (plain ONNX
    on whole numbers, for any Graph and any runtime), `qdq` (QuantizeLinear and DequantizeLinear, as
    ONNX Runtime computes them; with `mixed` integer operators do what they cannot say) or `qonnx`
    (Quant and MultiThreshold, as QONNX's executor runs them, with a batch of 1).
    Ports keep their names, shapes and types; with `integers` they take and give codes, in the
    narrowest type that holds them. A Graph with state has an input and an output (`NAME.next`) more
    for each. What was written is run on `samples` random samples by ONNX Runtime or QONNX where
    they are installed, and by ONNX's own evaluator or hwsim's reader, and must give the same
    numbers; 0 leaves that out.
    Raises HwsimError for what has no like in that form, every node in one sentence.
    """
    from hwsim.onnx_export import to_model
    from hwsim.storage import write_atomically

    made, _ = to_model(as_graph(model), form=form, integers=integers, mixed=mixed, samples=samples)
    if out is not None:
        write_atomically(Path(out), made.SerializeToString())
    return made


def explore(
    model: Any,
    out: str | Path,
    *,
    x: Any = None,
    reference: str | Path | None = None,
    target: str = defaults.TARGET,
    clock: str = defaults.CLOCK,
) -> dict[str, Any]:
    """Write a model into the folder `out` for Model Explorer: a graph, and data for its nodes.

    `model` is a Graph or what `load` takes. The files are JSON, and Model Explorer is not needed to
    write them; `next` in the result is the command that opens them. Data are bits, ranges, work and
    cycles (of the plan that `build` takes for a target); with samples `x`, as `emulate` takes them,
    the share of codes at the ends of their formats; and with a float ONNX file as `reference` the
    distance of each tensor from the float one of its name.
    Raises HwsimError for samples and a reference that do not fit; nothing is written then.
    """
    from hwsim.explorer import write_folder

    label = Path(model).name if isinstance(model, str | Path) else "graph"
    return write_folder(
        as_graph(model), label, Path(out), x=x, reference=reference, target=target, clock=clock
    )
