"""Sites: the named places of a model where a hidden state is read."""
