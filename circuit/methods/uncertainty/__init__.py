"""Splits, scores, bootstrap intervals, and bounds."""
