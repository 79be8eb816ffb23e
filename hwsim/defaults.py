"""What is meant where nobody says it: the device and its clock."""

TARGET = "ecp5-25k"
CLOCK_MHZ = 50.0
CLOCK = f"{CLOCK_MHZ:g}MHz"
