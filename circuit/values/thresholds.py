"""How many independent units a claim needs, whatever its interval says.

A group is a template, a seed question or a contrast pair. `tests/bench/coverage.py` says how often
the 95 % intervals hold the truth with as few groups.
"""

from typing import Final

LEVEL: Final = 0.05  # a claim needs a p of at most this, over all that was tested together
MIN_GROUPS: Final = 10
MIN_CLASS_GROUPS: Final = 5  # groups in which each class occurs
MIN_CONTROLS: Final = 19  # control directions of a kind: the smallest p is 1 / 20
MIN_BEHAVIOUR: Final = 0.1  # logits between two runs or labels; less is no behaviour
MIN_PROMPTS: Final = 30  # test prompts of a sweep that gets a score
