"""Simulation in Verilator, and the check of a build."""
