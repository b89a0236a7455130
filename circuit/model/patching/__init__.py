"""Activation patching, and runs with the means of some components."""
