"""Direct contributions of components to logits."""
