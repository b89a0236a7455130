"""Inputs of introspection commands: prompts, layers, tokens, cases."""
