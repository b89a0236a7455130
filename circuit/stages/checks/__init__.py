"""``circuit verify | doctor | sites``: files, machine and model are checked."""
