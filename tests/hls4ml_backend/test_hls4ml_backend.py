"""`backend="hwsim"` in hls4ml: layers, precisions and weights of Vitis, and its csim's codes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.hls4ml_heads import dense_heads, layers
from support.hls4ml_models import Model, csim

from hwsim.errors import HwsimError

pytestmark = pytest.mark.needs("hls4ml")


def described(model) -> dict:
    """What a model is made of: every layer's class, wiring, types and weights."""
    found = {}
    for layer in model.get_layers():
        kind = next(b.__name__ for b in type(layer).__mro__ if "hls4ml.model" in b.__module__)
        found[layer.name] = {
            "class": kind,
            "inputs": list(layer.inputs),
            "outputs": list(layer.outputs),
            "results": {n: str(v.type.precision) for n, v in layer.variables.items()},
            "shapes": {n: [int(k) for k in v.shape] for n, v in layer.variables.items()},
            "weights": {n: str(w.type.precision) for n, w in layer.weights.items()},
            "accum": str(getattr(layer.get_attr("accum_t"), "precision", None)),
            "strategy": layer.get_attr("strategy"),
            "reuse": layer.get_attr("reuse_factor"),
        }
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_layers_and_weights_are_those_of_vitis(tmp_path, stream):
    ours = layers(31, stream).build(tmp_path / "h", backend="hwsim", stream=stream)
    theirs = layers(31, stream).build(tmp_path / "v", backend="Vitis", stream=stream)
    assert described(ours) == described(theirs)
    for mine, other in zip(ours.get_layers(), theirs.get_layers(), strict=True):
        for name, weights in other.weights.items():
            assert np.array_equal(mine.weights[name].data, weights.data)


def test_predict_is_vitis_csim_code_for_code_and_shape_for_shape(tmp_path):
    model = layers(32, stream=False)
    ours = model.build(tmp_path / "h", backend="hwsim")
    theirs = layers(32, stream=False).build(tmp_path / "v")
    x = model.data(500)
    want = csim(theirs, x)
    ours.compile()
    for name, got in zip(ours.outputs, ours.predict(x), strict=True):
        assert got.dtype == np.float32 and (got == want[name]).all(), name
    one, other = ours.predict(x[:1]), theirs.predict(x[:1])
    assert [a.shape for a in one] == [a.shape for a in other]
    _, seen = ours.trace(x[:7])
    assert set(seen) == {layer.name for layer in ours.get_layers()} - {"x"}


def test_reuse_order_survives_the_backend(tmp_path):
    model = dense_heads(33, Strategy="Resource", ReuseFactor=3)
    ours = model.build(tmp_path / "h", backend="hwsim")
    theirs = dense_heads(33, Strategy="Resource", ReuseFactor=3).build(tmp_path / "v")
    x = model.data(500)
    ours.compile()
    want = csim(theirs, x)
    for name, got in zip(ours.outputs, ours.predict(x), strict=True):
        assert (got == want[name]).all(), name


def small(tmp_path, **options):
    model = Model(34, (4,))
    model.dense("x", 3, {"accum": "fixed<9,4,RND,SAT>", "result": "fixed<8,4>"})
    return model.build(tmp_path / "small", backend="hwsim", **options)


@pytest.mark.needs("pyosys")
def test_build_gives_verilog_and_a_report_in_the_manner_of_hls4ml(tmp_path):
    report = small(tmp_path).build(rtl_only=True, target="ecp5-25k", log_to_stdout=False)
    assert report["Verilog"].endswith(".v") and report["Bitstream"] is None
    assert report["CSynthesisReport"]["IntervalMax"] == str(report["Build"]["analytic_cycles"])


def test_unknown_options_and_keys_are_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(HwsimError, match=r"not 'targte' \(did you mean target\?\)"):
        small(tmp_path).build(targte="ecp5-25k")
    model = Model(35, (4,))
    model.dense("x", 3, {}, RuseFactor=2)
    with pytest.raises(HwsimError, match=r"not 'RuseFactor' \(did you mean ReuseFactor\?\)"):
        model.build(tmp_path, backend="hwsim")
    model = Model(36, (4,))
    model.dense("x", 3, {"weight": "fixd<8,3>"})
    with pytest.raises(HwsimError, match=r"a precision must be text such as .*'fixd<8,3>'"):
        model.build(tmp_path, backend="hwsim")
    model = Model(37, (4,))
    model.dense("x", 3, {"result": "fixed<0,0>"})
    with pytest.raises(HwsimError, match=r"a width of at least 1 bit, not 'fixed<0,0>'"):
        model.build(tmp_path, backend="hwsim")


def named(tmp_path, layer):
    model = Model(39, (4,))
    model.dense("x", 3, {})
    model.config[layer] = {"Precision": {"result": "fixed<8,4>"}}
    return model.build(tmp_path, backend="hwsim")


def test_keys_for_a_layer_that_is_not_there_are_refused_or_told(tmp_path):
    with pytest.raises(HwsimError, match=r"'dense2' \(did you mean dense1\?\)"):
        named(tmp_path, "dense2")
    with pytest.warns(UserWarning, match=r"\['regression'\] counts for nothing: .* no such layer"):
        named(tmp_path, "regression")
    model = Model(39, (4,))
    model.dense("x", 3, {})
    model.config = {"regression": {}, "classification": {}}
    with pytest.raises(HwsimError, match=r"must be one of dense1, x, not 'regression'"):
        model.build(tmp_path, backend="hwsim")


def test_a_tables_type_that_hls4ml_passes_over_is_told(tmp_path):
    """Among the precisions, where hls4ml's own config_from_… puts it, it is not read."""
    model = Model(38, (4,))
    model.activation("x", "tanh", {"table": "fixed<9,2>"})
    told = r"\['Precision'\]\['table'\] is passed over .*; give it as .*\['table_t'\]"
    with pytest.warns(UserWarning, match=told):
        model.build(tmp_path / "over", backend="hwsim")
    model = Model(38, (4,))
    name = model.activation("x", "tanh", {"table": "fixed<18,8>"})
    model.config[name]["table_t"] = "fixed<9,2>"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = model.build(tmp_path / "read", backend="hwsim")
    assert str(built.graph[name].get_attr("table_t").precision).startswith("fixed<9,2")
