"""Small sweeps in tests: a planted direction, test prompts, and settings that take seconds."""

from dataclasses import replace

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.readout import Readout
from circuit.stages.sweep.experiment import Experiment, SweepSettings
from circuit.values.prompt_format import RAW

DOSES = (-1.0, -0.5, 0.0, 0.5, 1.0)
FEW = SweepSettings(DOSES, strength=0.5, n_random=4, n_shuffled=0, n_tokens=4, n_boot=200)
READ = Readout(("Y",), ("N",))
NEUTRAL = ("The plates are here.", "Rice is cooked.", "A fence runs there.", "When is it?")


def prompt_set(n_groups=12, per_group=2, name="test"):
    prompts = [
        {
            "text": f"{name} question {g} number {i}: is it? ",
            "label": ("no", "yes")[i % 2],
            "group": f"{name}/{g}",
        }
        for g in range(n_groups)
        for i in range(per_group)
    ]
    return PromptSet.model_validate({"name": name, "labels": ["no", "yes"], "prompts": prompts})


def experiment(direction, readout=READ, test=None, settings=FEW, **fields):
    return Experiment(
        intervention=Intervention.of(direction),
        test=test or prompt_set(),
        readout=readout,
        form=RAW,
        settings=settings,
        neutral=NEUTRAL,
        **fields,
    )


def changed(experiment, **settings):
    """Return the experiment with other settings."""
    return replace(experiment, settings=replace(experiment.settings, **settings))


def planted(model):
    """In a model of identity blocks, the difference of two output rows moves exactly their log-ratio."""
    import mlx.core as mx

    from circuit.model.prompts.tokens import encode_prompts

    weights = np.array(model.network.lm_head.weight.astype(mx.float32))
    ids = [int(encode_prompts(model, [letter])[0].ids[-1]) for letter in "YN"]
    v = weights[ids[0]] - weights[ids[1]]
    norm = float(np.linalg.norm(v))
    return Direction("yes", "resid_post", 1, v / norm, norm, "pair")
