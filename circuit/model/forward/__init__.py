"""Forward passes: capture, batches, shared prefixes, logits of residuals, teacher forcing, generation."""
