"""Pairs of prompts, and the runs of activation patching."""
