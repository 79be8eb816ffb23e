"""Devices and their families."""
