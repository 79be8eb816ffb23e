"""The command line: `hwsim inspect`, `emulate`, `accuracy`, `plan`, `build`, `verify`, ..."""

from hwsim.cli.app import app
from hwsim.cli.process import main

__all__ = ["app", "main"]
