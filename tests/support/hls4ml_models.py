"""hls4ml models from plain layer lists, with no training framework, and their csim."""

from __future__ import annotations

import contextlib
import io
import math
import random
from typing import Any

import numpy as np

ROUNDINGS = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV")
OVERFLOWS = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")


def precision(rng: random.Random, *, least: int = 2, most: int = 16, signed: bool = True) -> str:
    """A random ap_fixed type; integer bits may be negative or above the width."""
    width = rng.randint(least, most)
    integer = rng.randint(-2, min(width, 8) + 2) if rng.random() < 0.2 else rng.randint(1, width)
    kind = "fixed" if signed or rng.random() < 0.7 else "ufixed"
    return f"{kind}<{width},{integer},{rng.choice(ROUNDINGS)},{rng.choice(OVERFLOWS)}>"


class Model:
    """A layer list under construction: each method appends a layer and returns its name."""

    def __init__(self, seed: int, shape: tuple[int, ...], given: str = "fixed<12,4>") -> None:
        self.rng, self.np = random.Random(seed), np.random.default_rng(seed)
        self.layers: list[dict[str, Any]] = [
            {"name": "x", "class_name": "InputLayer", "input_shape": list(shape)}
        ]
        self.shapes: dict[str, tuple[int, ...]] = {"x": shape}
        self.config: dict[str, Any] = {"x": {"Precision": {"result": given}}}
        self.outputs: list[str] = []

    @property
    def inputs(self) -> list[str]:
        """The names of the model's inputs."""
        return [layer["name"] for layer in self.layers if layer["class_name"] == "InputLayer"]

    def input(self, name: str, shape: tuple[int, ...], given: str) -> str:
        """One more input."""
        self.layers.append({"name": name, "class_name": "InputLayer", "input_shape": list(shape)})
        self.shapes[name], self.config[name] = shape, {"Precision": {"result": given}}
        return name

    def add(
        self,
        kind: str,
        inputs: list[str],
        shape: tuple[int, ...],
        types: dict[str, str] | None = None,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """One layer with a name of its own."""
        name = f"{kind.lower()}{len(self.layers)}"
        self.layers.append({"name": name, "class_name": kind, "inputs": inputs, **fields})
        self.shapes[name] = shape
        self.config[name] = {"Precision": types or {}, **(options or {})}
        return name

    def weights(self, *shape: int) -> Any:
        """Reals, some on a coarse grid (ties) and most off every grid."""
        values = self.np.normal(0, 1.0, shape)
        return np.where(self.np.random(shape) < 0.3, np.round(values * 8) / 8, values)

    def dense(self, source: str, outputs: int, types: dict[str, str], **options: Any) -> str:
        (terms,) = self.shapes[source]
        return self.add(
            "Dense",
            [source],
            (outputs,),
            types,
            options,
            n_in=terms,
            n_out=outputs,
            use_bias=True,
            weight_data=self.weights(terms, outputs),
            bias_data=self.weights(outputs),
            weight_quantizer=None,
            bias_quantizer=None,
        )

    def conv(
        self,
        source: str,
        filters: int,
        kernel: tuple[int, int],
        types: dict[str, str],
        stride: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        **options: Any,
    ) -> str:
        height, width, channels = self.shapes[source]
        out_h = (height + pads[0] + pads[2] - kernel[0]) // stride[0] + 1
        out_w = (width + pads[1] + pads[3] - kernel[1]) // stride[1] + 1
        return self.add(
            "Conv2D",
            [source],
            (out_h, out_w, filters),
            types,
            options,
            data_format="channels_last",
            in_height=height,
            in_width=width,
            n_chan=channels,
            n_filt=filters,
            filt_height=kernel[0],
            filt_width=kernel[1],
            stride_height=stride[0],
            stride_width=stride[1],
            dilation=1,
            pad_top=pads[0],
            pad_left=pads[1],
            pad_bottom=pads[2],
            pad_right=pads[3],
            out_height=out_h,
            out_width=out_w,
            padding="same" if any(pads) else "valid",
            use_bias=True,
            weight_data=self.weights(*kernel, channels, filters),
            bias_data=self.weights(filters),
            weight_quantizer=None,
            bias_quantizer=None,
        )

    def conv_line(
        self,
        source: str,
        filters: int,
        kernel: int,
        types: dict[str, str],
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        **options: Any,
    ) -> str:
        width, channels = self.shapes[source]
        out_w = (width + sum(pads) - kernel) // stride + 1
        return self.add(
            "Conv1D",
            [source],
            (out_w, filters),
            types,
            options,
            data_format="channels_last",
            in_width=width,
            n_chan=channels,
            n_filt=filters,
            filt_width=kernel,
            stride_width=stride,
            dilation=1,
            pad_left=pads[0],
            pad_right=pads[1],
            out_width=out_w,
            padding="same" if any(pads) else "valid",
            use_bias=True,
            weight_data=self.weights(kernel, channels, filters),
            bias_data=self.weights(filters),
            weight_quantizer=None,
            bias_quantizer=None,
        )

    def pool_line(self, source: str, kind: str, size: int, types: dict[str, str]) -> str:
        width, channels = self.shapes[source]
        out_w = (width - size) // size + 1
        return self.add(
            f"{kind}Pooling1D",
            [source],
            (out_w, channels),
            types,
            data_format="channels_last",
            n_in=width,
            n_out=out_w,
            n_filt=channels,
            pool_width=size,
            stride_width=size,
            padding="valid",
            pad_left=0,
            pad_right=0,
            count_pad=False,
        )

    def global_pool_line(self, source: str, kind: str, types: dict[str, str]) -> str:
        width, channels = self.shapes[source]
        return self.add(
            f"Global{kind}Pooling1D",
            [source],
            (channels,),
            types,
            data_format="channels_last",
            n_in=width,
            n_filt=channels,
        )

    def activation(self, source: str, function: str, types: dict[str, str]) -> str:
        return self.add(
            "Activation",
            [source],
            self.shapes[source],
            types,
            activation=function,
            n_in=int(np.prod(self.shapes[source])),
        )

    def pool(
        self, source: str, kind: str, size: int, types: dict[str, str], stride: int = 0
    ) -> str:
        height, width, channels = self.shapes[source]
        stride = stride or size
        out_h, out_w = (height - size) // stride + 1, (width - size) // stride + 1
        return self.add(
            f"{kind}Pooling2D",
            [source],
            (out_h, out_w, channels),
            types,
            data_format="channels_last",
            in_height=height,
            in_width=width,
            n_filt=channels,
            pool_height=size,
            pool_width=size,
            stride_height=stride,
            stride_width=stride,
            padding="valid",
            pad_top=0,
            pad_bottom=0,
            pad_left=0,
            pad_right=0,
            count_pad=False,
            out_height=out_h,
            out_width=out_w,
        )

    def global_pool(self, source: str, kind: str, types: dict[str, str]) -> str:
        height, width, channels = self.shapes[source]
        return self.add(
            f"Global{kind}Pooling2D",
            [source],
            (channels,),
            types,
            data_format="channels_last",
            in_height=height,
            in_width=width,
            n_filt=channels,
        )

    def batchnorm(self, source: str, types: dict[str, str]) -> str:
        shape = self.shapes[source]
        channels = shape[-1]
        return self.add(
            "BatchNormalization",
            [source],
            shape,
            types,
            n_in=int(np.prod(shape)),
            n_out=int(np.prod(shape)),
            n_filt=channels if len(shape) > 1 else -1,
            use_gamma=True,
            use_beta=True,
            gamma_data=self.weights(channels),
            beta_data=self.weights(channels),
            mean_data=self.weights(channels),
            variance_data=np.abs(self.weights(channels)) + 0.1,
            epsilon=1e-3,
        )

    def merge(self, a: str, b: str, types: dict[str, str], op: str = "add") -> str:
        shape = max(self.shapes[a], self.shapes[b], key=math.prod)
        return self.add("Merge", [a, b], shape, types, op=op)

    def concatenate(self, a: str, b: str, types: dict[str, str]) -> str:
        shape = (*self.shapes[a][:-1], self.shapes[a][-1] + self.shapes[b][-1])
        return self.add(
            "Concatenate", [a, b], shape, types, op=f"concatenate{len(shape)}d", axis=-1
        )

    def reshape(self, source: str, *shape: int) -> str:
        return self.add(
            "Reshape", [source], shape, target_shape=list(shape), data_format="channels_last"
        )

    def transpose(self, source: str, *axes: int) -> str:
        shape = tuple(self.shapes[source][a] for a in axes)
        return self.add("Transpose", [source], shape, perm=list(axes), data_format="channels_last")

    def build(
        self,
        folder: Any,
        *,
        backend: str = "Vitis",
        stream: bool = False,
        default: str = "fixed<16,6>",
    ) -> Any:
        """The ModelGraph, not compiled; its outputs are the layers that nobody reads."""
        import hls4ml
        from hls4ml.model import ModelGraph

        used = {name for layer in self.layers for name in layer.get("inputs", [])}
        outputs = self.outputs or [x["name"] for x in self.layers if x["name"] not in used]
        config = hls4ml.utils.config.create_config(
            output_dir=str(folder),
            backend=backend,
            io_type="io_stream" if stream else "io_parallel",
        )
        config["HLSConfig"] = {
            "Model": {"Precision": default, "ReuseFactor": 1, "Strategy": "Latency"},
            "LayerName": self.config,
        }
        with contextlib.redirect_stdout(io.StringIO()):
            return ModelGraph.from_layer_list(config, self.layers, self.inputs, outputs)

    def data(self, samples: int) -> Any:
        """Float32 inputs on and off the grid, some outside every format."""
        x = self.np.normal(0, 2.0, (samples, *self.shapes["x"]))
        x[: samples // 4] = np.round(x[: samples // 4] * 16) / 16
        x[samples // 4 : samples // 3] *= 20
        return np.ascontiguousarray(x, dtype=np.float32)


def csim(model: Any, x: Any) -> dict[str, Any]:
    """What the compiled C++ gives of one input or of several, by output name, one row a sample."""
    with contextlib.redirect_stdout(io.StringIO()):
        model.compile()
        out = model.predict(x)
    arrays = out if isinstance(out, list) else [out]
    samples = len(x[0] if isinstance(x, list) else x)
    return {n: a.reshape(samples, -1) for n, a in zip(model.outputs, arrays, strict=True)}
