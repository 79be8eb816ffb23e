"""Common PyTorch idioms and networks, and the float ONNX files that both exporters make of them.

Run as a script (with the `train` extra installed) to write them anew; the tests read
the files, and where PyTorch is installed compare them with what it exports today.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import architectures
import onnx
import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).parent
EXPORTERS = ("dynamo", "script")


@dataclass(frozen=True, slots=True)
class Idiom:
    """A module and the shapes of its inputs, without the batch."""

    module: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]


class Net(nn.Module):
    """Layers by name, and a function of them and of the inputs."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.run = run

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.run(self, *inputs)


def conv(cin: int, cout: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, **{"padding": kernel // 2} | options)


def image(*size: int) -> tuple[tuple[int, ...], ...]:
    return (size,)


IDIOMS: dict[str, Idiom] = {
    "conv_bn_relu": Idiom(
        lambda: nn.Sequential(conv(2, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 3)),
        image(2, 6, 6),
    ),
    "max_pool": Idiom(
        lambda: nn.Sequential(conv(1, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 3)), image(1, 8, 8)
    ),
    "flatten_linear": Idiom(
        lambda: nn.Sequential(conv(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)), image(1, 4, 4)
    ),
    "view_by_size": Idiom(
        lambda: Net(
            lambda s, x: s.fc(F.relu(s.conv(x)).view(x.size(0), -1)),
            conv=conv(2, 3),
            fc=nn.Linear(48, 5),
        ),
        image(2, 4, 4),
    ),
    "reshape_a_flat_input": Idiom(
        lambda: Net(
            lambda s, x: s.fc(torch.flatten(F.relu(s.conv(x.reshape(-1, 2, 4, 4))), 1)),
            conv=conv(2, 3),
            fc=nn.Linear(48, 5),
        ),
        ((32,),),
    ),
    "adaptive_average": Idiom(
        lambda: Net(
            lambda s, x: s.fc(torch.flatten(F.adaptive_avg_pool2d(F.relu(s.conv(x)), 1), 1)),
            conv=conv(3, 6, stride=2),
            fc=nn.Linear(6, 4),
        ),
        image(3, 8, 8),
    ),
    "residual": Idiom(
        lambda: Net(
            lambda s, x: s.last(F.relu((y := F.relu(s.stem(x))) + s.b(F.relu(s.a(y))))),
            stem=conv(2, 4),
            a=conv(4, 4),
            b=conv(4, 4),
            last=conv(4, 2, 1),
        ),
        image(2, 5, 5),
    ),
    "concat": Idiom(
        lambda: Net(
            lambda s, x: s.last(torch.cat([F.relu(s.a(x)), s.b(x)], dim=1)),
            a=conv(2, 3),
            b=conv(2, 4, 1),
            last=conv(7, 2),
        ),
        image(2, 5, 5),
    ),
    "depthwise_relu6": Idiom(
        lambda: nn.Sequential(
            conv(2, 6, 1), nn.ReLU6(), conv(6, 6, groups=6, stride=2), nn.ReLU6(), conv(6, 3, 1)
        ),
        image(2, 8, 8),
    ),
    "hardswish": Idiom(
        lambda: nn.Sequential(conv(2, 4), nn.Hardswish(), conv(4, 3)), image(2, 5, 5)
    ),
    "leaky_relu": Idiom(
        lambda: nn.Sequential(nn.Linear(12, 9), nn.LeakyReLU(0.2), nn.Linear(9, 5)), ((12,),)
    ),
    "sigmoid": Idiom(
        lambda: nn.Sequential(nn.Linear(12, 9), nn.Sigmoid(), nn.Linear(9, 1), nn.Sigmoid()),
        ((12,),),
    ),
    "tanh_heads": Idiom(
        lambda: Net(
            lambda s, x: (s.value(h := torch.tanh(s.body(x))), torch.tanh(s.policy(h))),
            body=nn.Linear(8, 9),
            value=nn.Linear(9, 1),
            policy=nn.Linear(9, 3),
        ),
        ((8,),),
    ),
    "average_pool_padded": Idiom(
        lambda: nn.Sequential(
            conv(2, 4), nn.ReLU(), nn.AvgPool2d(3, 2, 1, count_include_pad=False), conv(4, 2, 1)
        ),
        image(2, 7, 6),
    ),
    "mlp_with_dropout": Idiom(
        lambda: nn.Sequential(
            nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 10)
        ),
        ((16,),),
    ),
    "channels_last": Idiom(
        lambda: Net(
            lambda s, x: s.b(F.relu(s.a(x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1),
            a=conv(3, 4),
            b=conv(4, 2),
        ),
        image(5, 6, 3),
    ),
    "one_channel": Idiom(
        lambda: Net(
            lambda s, x: s.b(F.relu(s.a(x.unsqueeze(1)))).squeeze(1), a=conv(1, 3), b=conv(3, 1)
        ),
        ((6, 6),),
    ),
    "two_inputs": Idiom(
        lambda: Net(
            lambda s, x, y: s.last(F.relu(torch.cat([s.a(x), s.b(y)], dim=-1))),
            a=nn.Linear(6, 5),
            b=nn.Linear(9, 4),
            last=nn.Linear(9, 3),
        ),
        ((6,), (9,)),
    ),
    "argmax": Idiom(
        lambda: Net(
            lambda s, x: s.b(F.relu(s.a(x))).argmax(dim=1), a=nn.Linear(10, 8), b=nn.Linear(8, 6)
        ),
        ((10,),),
    ),
    "uneven_padding": Idiom(
        lambda: Net(
            lambda s, x: s.last(s.pool(F.relu(s.a(F.pad(x, (0, 1, 0, 1)))))),
            a=conv(2, 4, stride=2, padding=0),
            pool=nn.MaxPool2d(2, ceil_mode=True),
            last=conv(4, 3, 1),
        ),
        image(2, 10, 10),
    ),
}  # fmt: skip

NETWORKS: dict[str, Idiom] = {
    "cnn": Idiom(architectures.Cnn, image(1, 8, 8)),
    "resnet8": Idiom(architectures.ResNet8, image(3, 8, 8)),
    "mobilenet_v2": Idiom(architectures.MobileNetV2, image(3, 12, 12)),
    "mobilenet_v3": Idiom(architectures.MobileNetV3, image(3, 10, 10)),
    "unet_transposed": Idiom(lambda: architectures.UNet(resize=False), image(1, 8, 8)),
    "unet_resize": Idiom(lambda: architectures.UNet(resize=True), image(1, 8, 8)),
    "cnn_1d": Idiom(architectures.Cnn1d, ((2, 16),)),
    "encoder": Idiom(architectures.Encoder, ((6, 3),)),
    "encoder_layer": Idiom(architectures.EncoderLayer, ((5, 3),)),
    "autoencoder": Idiom(architectures.Autoencoder, image(1, 8, 8)),
    "detector": Idiom(architectures.Detector, image(3, 16, 16)),
    "convnext": Idiom(architectures.ConvNext, image(3, 8, 8)),
    "wavenet": Idiom(architectures.WaveNet, ((1, 16),)),
    "segmenter": Idiom(architectures.Segmenter, image(3, 8, 8)),
}  # fmt: skip
ALL = IDIOMS | NETWORKS


def export(name: str, exporter: str) -> onnx.ModelProto:
    """The float model, without what says where and when it was made."""
    torch.manual_seed(sum(map(ord, name)))
    idiom = ALL[name]
    module = idiom.module()
    arguments = tuple(torch.randn(8, *shape) for shape in idiom.shapes)
    module.train()
    module(*arguments)  # statistics of batch norms
    module.eval()
    names = [f"x{i}" if i else "x" for i in range(len(arguments))]
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            program = torch.onnx.export(
                module,
                arguments,
                dynamo=True,
                input_names=names,
                dynamic_shapes=(tuple({0: batch} for _ in arguments),)
                if isinstance(module, Net)
                else ({0: batch},),
                verbose=False,
            )
            program.save(file)
        else:
            axes = {name: {0: "batch"} for name in names}
            torch.onnx.export(
                module, arguments, file, dynamo=False, input_names=names, dynamic_axes=axes
            )
    return stripped(onnx.load_model_from_string(file.getvalue()))


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without notes: stack traces, paths, versions."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    model.producer_version = ""
    return model


def main() -> None:
    """Write all files."""
    for name in ALL:
        for exporter in EXPORTERS:
            data = export(name, exporter).SerializeToString(deterministic=True)
            (HERE / f"{name}-{exporter}.onnx").write_bytes(data)
            sys.stdout.write(f"{name}-{exporter}.onnx {len(data)}\n")


if __name__ == "__main__":
    main()
