"""Where a model loses numbers on real data: wraps, saturations, bits that are rounded away."""

from hwsim.losses.find import find
from hwsim.losses.report import Effect, Hazard, Hazards, precision_text

__all__ = ["Effect", "Hazard", "Hazards", "find", "precision_text"]
