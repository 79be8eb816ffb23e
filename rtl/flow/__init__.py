"""The tools: Yosys, nextpnr, Verilog, synthesis, families of devices."""
