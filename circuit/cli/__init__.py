"""What a person types: options in, one call, text or JSON out."""
