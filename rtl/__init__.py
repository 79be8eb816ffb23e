"""The hardware half of hwsim: a Graph to RTL, simulation, synthesis and a bitstream."""
