"""What numbers a float model meets on real data: histograms, and the ranges chosen from them."""

from hwsim.compress.calibration.histogram import Histogram
from hwsim.compress.calibration.observe import observe

__all__ = ["Histogram", "observe"]
