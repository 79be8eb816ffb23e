"""The command line: `hwsim inspect | emulate | build | verify | report | doctor`."""

from hwsim.cli.app import app, main

__all__ = ["app", "main"]
