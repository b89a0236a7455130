"""Two models, one after the other, and their vocabularies."""
