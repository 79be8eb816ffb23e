"""ONNX models through hls4ml's own converter, which differs with what else is installed."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from support.seeds import seeded

pytestmark = pytest.mark.needs("hls4ml", "qonnx")


def enlarged(folder, backend, **options):
    """A pool and a Resize, whose region is empty, with channels last: converted."""
    from hls4ml.converters import convert_from_onnx_model
    from hls4ml.utils import config_from_onnx_model
    from onnx import TensorProto, helper
    from qonnx.core.modelwrapper import ModelWrapper

    def tensor(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    pool = helper.make_node(
        "MaxPool",
        ["x"],
        ["pooled"],
        domain="qonnx.custom_op.channels_last",
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[0, 0, 0, 0],
        name="pool",
    )
    resize = helper.make_node("Resize", ["pooled", "region", "scales"], ["y"], name="resize")
    held = [
        helper.make_tensor("region", TensorProto.FLOAT, [0], []),
        helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 2, 2, 1]),
    ]
    graph = helper.make_graph(
        [pool, resize],
        "enlarged",
        [tensor("x", 1, 6, 4, 3)],
        [tensor("y", 1, 6, 4, 3)],
        held,
        value_info=[tensor("pooled", 1, 3, 2, 3)],
    )
    model = ModelWrapper(helper.make_model(graph))
    with contextlib.redirect_stdout(io.StringIO()):
        config = config_from_onnx_model(model, backend=backend, default_precision="fixed<12,4>")
        return convert_from_onnx_model(
            model, hls_config=config, backend=backend, output_dir=str(folder), **options
        )


def given():
    return np.random.default_rng(seeded(6)).normal(0, 2, (50, 6, 4, 3)).astype(np.float32)


def test_a_resize_with_an_empty_region_converts_with_any_numpy(tmp_path):
    """hls4ml 1.3 asks whether the region is true, which NumPy says of no empty array.

    Its reader takes the height of 3 for the width: the C++ reads the same codes as two rows.
    """
    model, x = enlarged(tmp_path, "hwsim"), given()
    model.compile()
    pooled = (np.floor(x * 256) / 256).reshape(50, 3, 2, 2, 2, 3).max(axis=(2, 4))
    larger = pooled.reshape(50, 2, 3, 3).repeat(2, axis=1).repeat(2, axis=2)
    assert (model.predict(x) == larger.reshape(50, -1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_a_map_that_is_not_square_is_resized_as_in_csim(io_type, tmp_path, monkeypatch):
    from hls4ml.model.optimizer.passes import resize_remove_constants

    kept = resize_remove_constants.ResizeRemoveConstants.transform

    def listed(self, model, node):
        region = node.get_input_node(node.inputs[1])
        region.set_attr("value", list(region.get_attr("value")))
        return kept(self, model, node)

    monkeypatch.setattr(resize_remove_constants.ResizeRemoveConstants, "transform", listed)
    ours, theirs = (
        enlarged(tmp_path / backend, backend, io_type=io_type) for backend in ("hwsim", "Vitis")
    )
    with contextlib.redirect_stdout(io.StringIO()):
        ours.compile()
        theirs.compile()
        assert (ours.predict(given()) == theirs.predict(given())).all()
