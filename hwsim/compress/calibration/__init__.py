"""What numbers a float model meets on real data: histograms, and the ranges chosen from them."""

from hwsim.compress.calibration.channels import ChannelHistogram
from hwsim.compress.calibration.grid import CodeGrid, Form
from hwsim.compress.calibration.histogram import Histogram
from hwsim.compress.calibration.observe import observe, observe_channels
from hwsim.compress.calibration.ranges import METHODS, Calibration, Method, ranges
from hwsim.compress.calibration.values import Values

__all__ = [
    "METHODS",
    "Calibration",
    "ChannelHistogram",
    "CodeGrid",
    "Form",
    "Histogram",
    "Method",
    "Values",
    "observe",
    "observe_channels",
    "ranges",
]
