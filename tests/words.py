"""Words that are one of a kind: prompts of them differ in nothing else."""

WORDS = [
    "sun",
    "moon",
    "tree",
    "stone",
    "river",
    "cloud",
    "bird",
    "fish",
    "hill",
    "lake",
    "rain",
    "snow",
]
