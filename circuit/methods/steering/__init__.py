"""Measures of steering: dose-response, divergence, coherence, root finding."""
