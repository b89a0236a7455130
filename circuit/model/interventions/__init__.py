"""Interventions on a forward pass: steering, operators, edits, ablation."""
