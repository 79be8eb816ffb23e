"""What Brevitas has trained goes on from where it stands, as it is, and comes out again."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.training.fit import Fitted

pytestmark = [
    pytest.mark.needs("torch", "array_api_compat", "brevitas", "qonnx"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]
DIGITS = load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)[:, None]
TRAIN, TEST = slice(0, 1300), slice(1300, None)


@pytest.fixture(scope="module")
def module():
    """Weights of 4 bits, float scales, one a channel, and 4 bits between; a few steps of QAT."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas import nn as qnn
        from brevitas import quant
    torch.manual_seed(seeded(6))
    how = {"weight_bit_width": 4, "weight_quant": quant.Int8WeightPerChannelFloat}
    act = {"bit_width": 4, "return_quant_tensor": True}
    made = torch.nn.Sequential(
        qnn.QuantIdentity(bit_width=6, return_quant_tensor=True),
        qnn.QuantConv2d(1, 8, 3, padding=1, bias=False, **how),
        torch.nn.BatchNorm2d(8),
        qnn.QuantReLU(**act),
        qnn.QuantConv2d(8, 12, 3, stride=2, bias=True, bias_quant=quant.Int32Bias, **how),
        qnn.QuantReLU(**act),
        torch.nn.Flatten(),
        qnn.QuantLinear(108, 10, bias=True, bias_quant=quant.Int32Bias, **how),
    )
    x, y = torch.from_numpy(IMAGES[TRAIN]), torch.from_numpy(DIGITS.target[TRAIN])
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    made.train()
    for _ in range(8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    return made.eval()


def classes(module, x: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy().argmax(1)


def tuned(model: object) -> Fitted:
    test = IMAGES[TEST], DIGITS.target[TEST]
    how = {"epochs": 3, "rate": 3e-3, "check": True}  # which compares each batch's codes
    return hwsim.finetune(model, IMAGES[TRAIN], DIGITS.target[TRAIN], test=test, **how)


def test_the_module_is_as_good_before_better_after_and_goes_back_to_qonnx(module, tmp_path):
    found = tuned(module)
    right = int((classes(module, IMAGES[TEST]) == DIGITS.target[TEST]).sum())
    assert found.before.right == right
    assert found.after.right > right
    path = tmp_path / "tuned.onnx"
    found.graph.save(tmp_path / "tuned.hwsim")
    hwsim.to_onnx(tmp_path / "tuned.hwsim", path, form="qonnx")
    back = hwsim.load(path)
    assert hwsim.emulate(back, IMAGES).tolist() == hwsim.emulate(found.graph, IMAGES).tolist()


def test_the_module_is_pruned_and_teaches_as_what_is_read_from_it(module):
    read, few = hwsim.load(module, example=IMAGES[:1]), IMAGES[:256]
    wanted, found = (hwsim.prune(m, 0.4, by="activation", x=few).graph for m in (read, module))
    assert found.hash() == wanted.hash() != read.hash()
    how = {"epochs": 1, "rate": 3e-3, "check": True}
    taught = [hwsim.distil(found, few, teacher=m, **how).graph.hash() for m in (read, module)]
    assert taught[0] == taught[1]


@pytest.mark.needs("onnxoptimizer")
def test_the_file_that_brevitas_exports_is_trained_as_the_module_is(module, tmp_path):
    import torch
    from brevitas.export import export_qonnx

    path = Path(tmp_path / "net.onnx")
    export_qonnx(module, args=torch.from_numpy(IMAGES[:1]), export_path=str(path))
    assert any(node.op_type == "Quant" for node in onnx.load(path).graph.node)
    wanted, found = tuned(module), tuned(path)
    assert found.before.right == wanted.before.right
    assert found.after.right > found.before.right
