"""Manifests: what an artifact is, and how it was made."""
