"""Where accuracy went: the integer network against the float one that it came from, exactly."""

from hwsim.compress.attribution.find import find
from hwsim.compress.attribution.report import Attribution

__all__ = ["Attribution", "find"]
