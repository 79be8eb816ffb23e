"""Accuracy: how often a classifier is right on labelled data, and a reference beside it."""
