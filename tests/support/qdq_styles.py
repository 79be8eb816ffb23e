"""How exporters of quantized networks write: what one of them decides for a whole file."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What an exporter decides once for a whole network."""

    name: str
    dtypes: tuple[str, ...] = ("uint8",)
    symmetric: bool = False  # zero points of 0, ReLUs that their quantizer does not repeat
    weight_dtypes: tuple[str, ...] = ("int8",)
    biases: tuple[str, ...] = ("int32", "none")
    gemm: tuple[str, ...] = ("Gemm",)
    flat: tuple[str, ...] = ("Flatten",)
    flat_quantized: bool = True  # a quantizer behind the operator that flattens
    tails: tuple[str, ...] = ("quantized",)
    opset: int = 17
    transposed_input: bool = False
    relu_quantized: bool = False  # also a quantizer between a layer and its ReLU
    own_pairs: bool = False  # each reader of a tensor has a quantizer and dequantizer of its own
    shared: bool = False  # equal scales and zero points are one constant
    zero_points: bool = True
    scale_shape: Shape = ()
    codes: bool = False  # QLinear operators instead of pairs
    integer_ports: tuple[str, ...] = ("none",)


STYLES = (
    Style(name="quantize_static", dtypes=("uint8", "int8"), biases=("int32",),
          flat=("Flatten", "Reshape", "shape chain"), gemm=("Gemm", "MatMul"),
          weight_dtypes=("int8", "uint8")),
    Style(name="quantize_static, float bias", dtypes=("uint8", "int8"), biases=("float", "none"),
          flat=("Flatten", "Reshape"), gemm=("Gemm", "MatMul"), own_pairs=True),
    Style(name="QOperator", dtypes=("uint8", "uint8", "int8"), biases=("int32",), codes=True,
          integer_ports=("none", "both", "output")),
    Style(name="torch, old exporter", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Flatten", "shape chain"), flat_quantized=False,
          tails=("quantized", "float"), opset=13),
    Style(name="torch, new exporter", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Reshape",), flat_quantized=False, tails=("quantized", "float"), opset=18,
          shared=True),
    Style(name="tf2onnx", dtypes=("int8", "uint8"), biases=("int32", "float"),
          gemm=("MatMul",), flat=("Reshape",), transposed_input=True, opset=13,
          integer_ports=("none", "both")),
    Style(name="AIMET", biases=("off scale", "int32"), flat=("Flatten", "Reshape"),
          scale_shape=(1,)),
    Style(name="TensorRT", dtypes=("int8",), symmetric=True, biases=("float", "off scale", "none"),
          flat=("Flatten", "Reshape"), flat_quantized=False, tails=("float", "quantized")),
    Style(name="QAT, quantizers everywhere", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Flatten", "Squeeze"), relu_quantized=True, tails=("float", "quantized"),
          opset=21, shared=True),
    Style(name="without zero points", symmetric=True, biases=("float", "none"), flat=("Reshape",),
          zero_points=False),
    Style(name="small weights, wide activations", dtypes=("uint8", "int16", "uint16"),
          weight_dtypes=("int4", "uint4", "int8"), biases=("float", "int32"), flat=("Flatten",),
          opset=21, tails=("quantized", "float")),
)  # fmt: skip
