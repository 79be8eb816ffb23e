"""An IR of OpenVINO by hand, which needs no OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def ir(
    folder: Path, *, kind: str = "FakeQuantize", data: bytes | None = None, shape: int = 4
) -> Path:
    """An IR of one quantizer from 0 to 1, and its weights."""
    ends = np.array([0, 1], np.float32).tobytes() if data is None else data
    dims = f"<dim>-1</dim><dim>{shape}</dim>"
    held = "".join(
        f'<layer id="{n}" name="end{n}" type="Const" version="opset1"><data element_type="f32" '
        f'shape="" offset="{4 * (n - 1)}" size="4"/><output><port id="0" precision="FP32"/>'
        "</output></layer>"
        for n in (1, 2)
    )
    ports = "".join(f'<port id="{n}" precision="FP32"/>' for n in range(1, 5))
    edges = "".join(
        f'<edge from-layer="{source}" from-port="0" to-layer="3" to-port="{port}"/>'
        for port, source in enumerate((0, 1, 2, 1, 2))
    )
    text = (
        '<net name="m" version="11"><layers><layer id="0" name="x" type="Parameter" '
        f'version="opset1"><data shape="?,{shape}" element_type="f32"/><output>'
        f'<port id="0" precision="FP32">{dims}</port></output></layer>{held}'
        f'<layer id="3" name="quant" type="{kind}" version="opset1"><data levels="256" '
        f'auto_broadcast="numpy"/><input><port id="0" precision="FP32">{dims}</port>{ports}</input>'
        f'<output><port id="5" precision="FP32">{dims}</port></output></layer>'
        '<layer id="4" name="y" type="Result" version="opset1"><input><port id="0" '
        f'precision="FP32">{dims}</port></input></layer></layers><edges>{edges}'
        '<edge from-layer="3" from-port="5" to-layer="4" to-port="0"/></edges></net>'
    )
    (folder / "m.xml").write_text(text)
    (folder / "m.bin").write_bytes(ends)
    return folder / "m.xml"
