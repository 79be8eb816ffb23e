"""What a load says where OpenVINO's numbers are not followed to the last bit."""

from __future__ import annotations

FUNCTIONS = (
    "a layer's kernel has functions of its own in OpenVINO, with other last bits: about one code "
    "in 2,000 may differ by one step"
)
MEANS = (
    "OpenVINO's mean of so many codes is not followed to the last bit: about one code in 20,000 "
    "may differ by one step"
)
DIFFERENCE = (
    "OpenVINO rounds a difference of two tensors in an order that is not followed to the last bit: "
    "about one code in 20,000 may differ by one step"
)
SOFTMAX = (
    "OpenVINO computes this softmax in float32: about one code in 200,000 (8-bit result) may "
    "differ by one step"
)
IN_FLOAT = (
    "OpenVINO computes this layer in float32, since its weights have a zero point or are no 8-bit "
    "integers with a scale for each output: about one code in 200,000 (8-bit result) may differ by "
    "one step, and reals in their last bits (about 1e-6 of the largest)"
)
INTERPOLATED = (
    "OpenVINO interpolates in float32, by shares that it rounds: about one code in 100 (where "
    "scales are powers of two) or in 20,000 (elsewhere) may differ by one step"
)
TRANSPOSED = (
    "OpenVINO computes this transposed convolution in float32, since the codes that it reads have "
    "a place of 0: about one code in 200,000 (8-bit result) may differ by one step, and reals in "
    "their last bits (about 1e-6 of the largest)"
)
ARITHMETIC = (
    "OpenVINO takes factors and offsets of channels into each other in an order that is not "
    "followed to the last bit: about one code in 20,000 may differ by one step"
)
NORMALIZED = (
    "OpenVINO normalizes in float32, what is normalized here is finer: about one code in 3,000 "
    "(maps) or in 50,000 (rows) may differ by one step"
)
ALIGNED = (
    "OpenVINO brings quantizers of unlike ranges, which a Concat or Split ties to a convolution, "
    "to one scale, the widest one's: codes and all reals behind them differ; give the quantizers "
    "one range, as NNCF does before a Concat"
)
NEAR_TIES = (
    "OpenVINO rounds sums of layers in float32, in ONNX files in an order that is not known to the "
    "last bit: at {found:,} of {count:,} thresholds, of this layer and those behind it, that "
    "decides, and a code may differ by one step there (about one code in 500,000 did)"
)
PRODUCT = (
    "OpenVINO rounds a product of two tensors in an order that is not followed to the last bit: "
    "about one code in 10,000 may differ by one step"
)
LEAST = (
    "OpenVINO's minimum of two tensors is not followed to the last bit: about one code in 200,000 "
    "may differ by one step"
)
FAR_BIAS = (
    "a bias of this dense layer lies millions of steps beyond its quantizer's range, where "
    "OpenVINO's float32 rounds it by whole steps: codes of that output may differ by any amount"
)
LEVELS = (
    "OpenVINO makes 256 levels of {levels} where whole numbers go on, with codes of its own; here "
    "they are {levels}, so that most codes and reals differ, by a step or more; quantizers of 256 "
    "levels, as NNCF writes for activations, are the same"
)
AVERAGED_ROW = (
    "OpenVINO's average pool of uint8 codes along one axis is not followed to the last bit: about "
    "one code in 30 may differ by one step"
)
SUMMED_INT8 = (
    "OpenVINO rounds a sum of two tensors otherwise where a convolution reads one of them too and "
    "codes are int8 with a zero point, in ONNX files: about one code in 8 may differ by one step; "
    "with uint8 codes it does not"
)
