"""Archives of activations, in one file or in shards, and the answers that belong to them."""
