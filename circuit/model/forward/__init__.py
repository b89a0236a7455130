"""Forward passes: capture, batches, shared prefixes, logits, teacher forcing, generation."""
