"""Quantizers of QKeras without TensorFlow: QKeras's own numbers, settings and names."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hls4ml_backend.qkeras_golden import PATH, numbers, settings

from hwsim.errors import HwsimError
from hwsim.hls4ml_backend import qkeras_rules
from hwsim.hls4ml_backend.qkeras_rules import get_quantizer

GOLDEN = json.loads(PATH.read_text(encoding="utf-8"))
X = np.array(numbers(), np.float32)


def different(given: dict, want: list[float]) -> int:
    got = get_quantizer(given)(X).numpy()
    assert got.dtype == np.float32
    return int((got.astype(float) != np.array(want)).sum())


def test_weights_become_the_numbers_that_qkeras_makes_of_them():
    assert [given for given, _ in GOLDEN["made"]] == settings()
    assert sum(different(given, want) for given, want in GOLDEN["made"]) == 0


def test_a_rounding_to_nearest_without_ties_to_even_is_seen(monkeypatch):
    monkeypatch.setattr(qkeras_rules.np, "rint", lambda x: np.floor(x + 0.5))
    assert sum(different(given, want) for given, want in GOLDEN["made"]) > 0


@pytest.mark.parametrize(("text", "name", "config"), GOLDEN["texts"])
def test_a_text_is_the_quantizer_that_qkeras_makes_of_it(text, name, config):
    quantizer = get_quantizer(text)
    if config is None:
        assert quantizer.__name__ == name
        return
    assert type(quantizer).__name__ == name
    assert {key: quantizer.get_config()[key] for key in config} == config


@pytest.mark.parametrize(
    ("identifier", "sentence"),
    [
        (
            {"class_name": "quantized_bits", "config": {"alpha": "auto_po2"}},
            (
                "the alpha of quantized_bits must be a number here, not 'auto_po2', which "
                "TensorFlow finds from the weights: convert the model where QKeras is installed"
            ),
        ),
        (
            "__import__('os').system('false')",
            (
                "a QKeras quantizer must be a name with literal arguments, not "
                "\"__import__('os').system('false')\""
            ),
        ),
        (
            "quantized_ulaw(4)",
            (
                "a QKeras quantizer must be one of quantized_bits, binary, ternary, "
                "quantized_po2, quantized_relu, quantized_tanh, quantized_sigmoid, binary_tanh, "
                "hard_tanh, smooth_tanh, binary_sigmoid, hard_sigmoid, not 'quantized_ulaw': "
                "convert the model where QKeras is installed"
            ),
        ),
        (
            "quantized_relu(3)",
            "quantized_relu must be an activation here, not a quantizer of weights",
        ),
        (
            {"class_name": "quantized_bits", "config": {"qnoise_factor": 0.5}},
            "the qnoise_factor of quantized_bits must be 1 in a trained model",
        ),
    ],
)
def test_what_has_no_formula_is_refused_in_a_sentence(identifier, sentence):
    with pytest.raises(HwsimError) as caught:
        get_quantizer(identifier)(X)
    assert str(caught.value) == sentence


def test_a_power_of_two_is_not_taken_where_last_bits_of_a_logarithm_decide():
    between = np.array([2.0**-2.5], np.float32)
    with pytest.raises(HwsimError, match=r"must not lie between two powers of two, as 0.1767"):
        get_quantizer("quantized_po2(4,1)")(between)
