"""A quantized module's run as a Graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hwsim.errors import HwsimError
from hwsim.frontends.shared.tensors import with_views
from hwsim.frontends.torch_modules.eager import ends
from hwsim.frontends.torch_modules.eager.engines import engine_of, running
from hwsim.frontends.torch_modules.eager.handlers import HANDLERS
from hwsim.frontends.torch_modules.eager.importer import TorchImporter
from hwsim.frontends.torch_modules.trace import Trace
from hwsim.graph import Graph


def read(trace: Trace, like: str | None, names: Sequence[str]) -> Graph:
    """The Graph of a run, with the integers of an engine; where none is named, of its own."""
    _expect_known(trace)
    engine = engine_of(like or torch.backends.quantized.engine)
    with running(engine), torch.no_grad():
        return with_views(
            lambda views, grids: _graph(
                TorchImporter(engine, like is None, views, grids), trace, names
            )
        )


def _expect_known(trace: Trace) -> None:
    """Raise HwsimError that lists all operators which are not read."""
    missing: dict[str, str] = {}
    for call in trace.calls:
        if call.name not in HANDLERS:
            missing.setdefault(call.name.removeprefix("aten::"), call.place)
    if missing:
        listed = ", ".join(
            f"{name} ({place!r})" if place else name for name, place in sorted(missing.items())
        )
        raise HwsimError(f"a quantized module must use operators that are read, but has {listed}")


def _graph(run: TorchImporter, trace: Trace, names: Sequence[str]) -> Graph:
    run.batch = trace.inputs[0].shape[0]
    for tensor, name in zip(trace.inputs, names, strict=True):
        ends.read_input(run, tensor, name)
    for call in trace.calls:
        try:
            HANDLERS[call.name](run, call)
        except HwsimError as error:
            text = str(error)
            named = text.startswith((f"{call}:", "node ", "input "))
            raise HwsimError(text if named else f"{call}: {text}") from None
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            line = str(error).strip().partition("\n")[0]
            raise HwsimError(f"{call}: it must be valid ({line})") from error
    outputs = trace.outputs
    shown = ["output"] if len(outputs) == 1 else [f"output{i}" for i in range(len(outputs))]
    ports = [ends.output(run, t, name) for t, name in zip(outputs, shown, strict=True)]
    return run.graph(ports, inputs=list(names))
