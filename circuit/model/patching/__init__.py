"""Activation patching, and runs in which only some components compute."""
