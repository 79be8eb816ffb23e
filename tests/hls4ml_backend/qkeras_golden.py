"""What QKeras 0.9.0 makes of some numbers; run with a Python that has it, to write them anew.

pip install tensorflow==2.14.1 qkeras==0.9.0 pyparsing
python tests/hls4ml_backend/qkeras_golden.py
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parent / "data" / "qkeras_0.9.0.json"
TEXTS = (
    "quantized_relu(3,1)", "quantized_bits(4,0,1,alpha=1)", "quantized_relu(2)",
    "quantized_tanh(8)", "quantized_sigmoid(6)", "binary(alpha=1)", "ternary(alpha=1)",
    "binary_tanh", "quantized_po2(4,1)",
)  # fmt: skip


def numbers() -> list[float]:
    """Float32 numbers on and off the grids: ties, zeros, beyond all ranges."""
    waves = np.sin(np.arange(1, 13)), np.cos(np.arange(9)) / 8
    reals = np.concatenate([*waves, np.arange(-9, 10) / 8])
    return [float(np.float32(x)) for x in (*reals, -0.0, 1e-9, 3 / 64, -5 / 64)]


def settings() -> list[dict[str, Any]]:
    """Every class that quantizes weights, with most of its settings."""
    found = []
    for bits, integer, symmetric, signed, alpha in itertools.product(
        (1, 2, 4, 6), (0, 1), (0, 1), (True, False), (None, 1, 0.3)
    ):
        given = {"bits": bits, "integer": integer, "symmetric": symmetric, "alpha": alpha}
        config = {**given, "keep_negative": signed, "qnoise_factor": 1.0}
        found.append({"class_name": "quantized_bits", "config": config})
    for use_01, alpha in itertools.product((False, True), (None, 1, 0.7)):
        found.append({"class_name": "binary", "config": {"use_01": use_01, "alpha": alpha}})
    for threshold, alpha in itertools.product((None, 0.5), (None, 1, 0.7)):
        config = {"alpha": alpha, "threshold": threshold}
        found.append({"class_name": "ternary", "config": config})
    for bits, most in itertools.product((2, 4), (None, 1, 2)):
        found.append({"class_name": "quantized_po2", "config": {"bits": bits, "max_value": most}})
    return found


def main() -> None:
    """Ask QKeras."""
    from qkeras.quantizers import get_quantizer

    x = np.array(numbers(), np.float32)
    made = [
        [given, get_quantizer(given)(x).numpy().astype(np.float32).astype(float).tolist()]
        for given in settings()
    ]
    texts = []
    for text in TEXTS:
        quantizer = get_quantizer(text)
        has = hasattr(quantizer, "get_config")
        name = type(quantizer).__name__ if has else quantizer.__name__
        texts.append([text, name, quantizer.get_config() if has else None])
    PATH.write_text(json.dumps({"made": made, "texts": texts}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
