"""``circuit dataset``: prompt sets are drawn, imported, checked and split."""
