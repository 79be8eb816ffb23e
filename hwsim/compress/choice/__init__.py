"""Bits and channels by layer: chosen by what each alone costs, then tried."""
