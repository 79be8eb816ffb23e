"""What is meant where nobody says it: the device, its clock, a teacher's share."""

TARGET = "ecp5-25k"
CLOCK_MHZ = 50.0
CLOCK = f"{CLOCK_MHZ:g}MHz"

TAUGHT = 0.7
"""The share of the loss that a teacher has, beside labels."""
