"""Reports: what a model and a build are, as plain data and as one HTML page."""

from hwsim.reporting.folder import write_report
from hwsim.reporting.page import Page, Rung, RungState, render
from hwsim.reporting.samples import Sample

__all__ = ["Page", "Rung", "RungState", "Sample", "render", "write_report"]
