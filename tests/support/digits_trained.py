"""The digits' networks as tests of training take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.graph import Graph

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target.astype(np.int64)
FEW = 320


def float_model(name: str = "digits_cnn_int8") -> FloatModel:
    """The float network of an example."""
    return FloatModel.read(MODELS / f"{name}.float.onnx")


def quantized(bits: str, name: str = "digits_cnn_int8") -> Graph:
    """The same after training, by powers of two."""
    return hwsim.load(quantize(float_model(name), [{"image": IMAGES[:512]}], Widths.parse(bits)))
