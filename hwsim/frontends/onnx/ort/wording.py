"""What warnings say where the runtime computes something else, and the shares that they name.

The shares were measured by `benchmarks/runtime_differences.py`.
"""

from __future__ import annotations

SUMS = "{runtime} {adds}"
ROUNDED = f"{SUMS}, so that about one code in {{share}} that this node gives may differ by one step"
SHARES = {8: "200,000", 16: "1,000"}  # by the bits of the result
USUAL = {8: 5e-6, 16: 1e-3}  # the same
TIES = (
    "{runtime} averages in float32 here, so that exact ties may round the other way: up to "
    "{share:.2g} % of the codes, by one step; the exact average is rounded to nearest even here"
)
OFTEN = 1e-3
SUM_TIES = (
    f"{SUMS}, so that exact ties may round the other way: up to {{share:.2g}} % of the codes that "
    "this node gives, by one step"
)
LAST_BITS = f"{SUMS}, so that the reals differ in their last bits (by about 1e-6 of the largest)"
BLOCKS = (
    "{runtime} rounds its input to 8 bits in blocks here (MatMulNBits), so that nearly all "
    "values differ, by up to about one percent of the largest; here they are exact"
)
ALPHA_BITS = (
    "{runtime} multiplies by 'alpha' before the weights' scale, so that the reals may differ in "
    "their last bit"
)
ROUGH_TIES = (
    "{runtime}'s last bits are others here (those of an exponential, of a logarithm or of the C "
    "library), so that codes which meet a tie may differ by one step: up to {share:.2g} % of them"
)
EXPONENTIAL_BITS = (
    "{runtime}'s exponential is rounded otherwise, so that the reals differ in their last bits "
    "(by about 1e-7 of the largest)"
)
FLOAT_SOFTMAX = (
    "{runtime} computes the softmax in float32 here, so that about one code in {share} may "
    "differ by one step; the exact softmax is rounded to nearest even here"
)
WRAPS = (
    "{runtime}'s sums wrap around at 32 bits here; those that pass them differ altogether, "
    "since here they do not wrap"
)
