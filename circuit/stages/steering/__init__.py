"""Steering: sources, strength, interventions, read-outs, and ``circuit steer``."""
