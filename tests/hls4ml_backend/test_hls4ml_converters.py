"""Models of training frameworks through hls4ml's own converters, for hwsim and for Vitis.

They need PyTorch, and Keras on it, which no other test does: `pip install torch keras`.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.needs("hls4ml", "torch")]


def same(make, x) -> None:
    """What both backends predict is the same, and not all alike."""
    ours, theirs = make("hwsim"), make("Vitis")
    with contextlib.redirect_stdout(io.StringIO()):
        ours.compile()
        theirs.compile()
        got, want = ours.predict(x), theirs.predict(x)
    assert got.shape == want.shape and (got == want).all() and len(np.unique(want)) > 100


def torch_network(kind: str):
    """A convolutional network with a skip branch, or a perceptron; both with batch norm."""
    import torch
    from torch import nn

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.relu, self.second = nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)
            self.largest, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)
            self.flatten, self.last = nn.Flatten(), nn.Linear(16, 5)

        def forward(self, x):
            x = self.relu(self.norm(self.first(x)))
            x = self.mean(self.largest(self.second(x) + x))
            return self.last(self.flatten(x))

    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(16, 32), nn.BatchNorm1d(32)
            self.last = nn.Linear(32, 5)

        def forward(self, x):
            return self.last(torch.relu(self.norm(self.first(x))))

    torch.manual_seed(0)
    return (Skip() if kind == "skip" else Perceptron()).eval()


def from_torch(network, shape, folder, io_type, *, channels="full", default="fixed<16,6>", **layer):
    from hls4ml.converters import convert_from_pytorch_model
    from hls4ml.utils import config_from_pytorch_model

    def make(backend):
        with contextlib.redirect_stdout(io.StringIO()):
            config = config_from_pytorch_model(
                network,
                shape,
                granularity="name",
                backend=backend,
                default_precision=default,
                channels_last_conversion=channels,
                transpose_outputs=False,
            )
            for options in config["LayerName"].values():
                options.update(layer)
            return convert_from_pytorch_model(
                network,
                hls_config=config,
                backend=backend,
                io_type=io_type,
                output_dir=str(folder / backend),
            )

    return make


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("channels", ["full", "internal"])
def test_a_torch_network_with_a_skip_branch_predicts_as_vitis(io_type, channels, tmp_path, rng):
    shape = (2, 8, 8)  # "full" transposes the input in the model, "internal" wants it channels last
    x = rng.normal(0, 1.5, (500, *(shape if channels == "full" else (8, 8, 2)))).astype(np.float32)
    same(from_torch(torch_network("skip"), shape, tmp_path, io_type, channels=channels), x)


@pytest.mark.parametrize(
    "options",
    [{}, {"default": "fixed<10,4,RND,SAT>", "Strategy": "Resource", "ReuseFactor": 8}],
)
def test_a_torch_perceptron_predicts_as_vitis(options, tmp_path, rng):
    x = rng.normal(0, 2, (1000, 16)).astype(np.float32)
    same(from_torch(torch_network("mlp"), (16,), tmp_path, "io_parallel", **options), x)


@pytest.mark.needs("keras")
@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_a_keras_network_predicts_as_vitis(io_type, tmp_path, rng):
    # hls4ml's own C++ aborts on a streamed pool whose windows overlap: these do not
    import keras
    from hls4ml.converters import convert_from_keras_model
    from hls4ml.utils import config_from_keras_model
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(6, (1, 2), strides=(1, 2)),
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )

    def make(backend):
        with contextlib.redirect_stdout(io.StringIO()):
            config = config_from_keras_model(model, granularity="name", backend=backend)
            return convert_from_keras_model(
                model,
                hls_config=config,
                backend=backend,
                io_type=io_type,
                output_dir=str(tmp_path / backend),
            )

    same(make, rng.normal(0, 1.5, (500, 8, 8, 2)).astype(np.float32))
