"""Prompt sets and steering files with known truth, for the verbs of ``circuit directions``."""

from dataclasses import replace

import numpy as np
from planted_archive import prompt_set

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.steering_files.files import write_npz
from circuit.values.identity import ModelIdentity

PAIR = ("no_tool", "tool")


def labelled(rows, *, name="set"):
    """A prompt set of ``(label, group)``, each with a text of its own."""
    prompts = tuple(
        Prompt(text=f"{name} {i}", label=label, group=group)
        for i, (label, group) in enumerate(rows)
    )
    return PromptSet(name=name, labels=PAIR, prompts=prompts)


def elsewhere():
    """The prompts of ``prompt_set`` in other words, after as many without a label.

    ``write_planted`` draws the noise row by row: so the labelled rows get noise of their own.
    """
    own = prompt_set(edge=False).prompts
    before = tuple(Prompt(text=f"before {i}") for i in range(len(own)))
    moved = (replace(p, text=f"other {p.text}", group=f"other {p.group}") for p in own)
    return PromptSet(name="elsewhere", labels=PAIR, prompts=(*before, *moved))


def vector(d, *places):
    found = np.zeros(d)
    found[list(places)] = 1
    return found / np.linalg.norm(found)


def saved(path, v, *, layer=1, site="resid_post", model="planted"):
    identity = ModelIdentity(id=model)
    direction = Direction(
        name=path.stem, site=site, layer=layer, vector=v, norm=2.0, model=identity
    )
    write_npz(path, direction)
    return path
