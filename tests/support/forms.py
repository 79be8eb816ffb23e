"""The choice of a form where one and two multipliers take 17 and 34 bits, as hardware has it."""

from __future__ import annotations

from functools import partial

from hwsim.forms import choose as module

choose = partial(module.choose, operand_bits=(17, 34))
