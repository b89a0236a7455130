"""An archive of activations with known truth, written by the writer that collect uses."""

import time

import numpy as np

from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.values.identity import ModelIdentity

TOOLS = {"weather": "get_weather", "email": "send_email", "timer": "set_timer"}
CHAT = ("factual", "creative", "smalltalk")


def prompt_set(n_templates=5, per_template=4, *, edge=True):
    """Six categories, three with a tool, of ``n_templates`` templates each; two ambiguous prompts.

    The texts are numbers and say nothing of the category: only the activations do.
    """
    numbers = iter(np.random.default_rng(5).permutation(np.arange(10_000, 99_999)).tolist())
    prompts = [
        Prompt(
            text=f"prompt {next(numbers)}",
            label="tool" if category in TOOLS else "no_tool",
            category=category,
            expected_tool=TOOLS.get(category),
            group=f"{category}/{t}",
        )
        for category in (*TOOLS, *CHAT)
        for t in range(n_templates)
        for i in range(per_template)
    ]
    if edge:
        prompts += [Prompt(text=f"ambiguous {i}", category="ambiguous") for i in range(2)]
    return PromptSet(name="planted", labels=("no_tool", "tool"), prompts=tuple(prompts))


def rows(prompts, d, layer, n_layers, seed):
    """Noise and a common offset; label and category grow from half of the depth on."""
    rng = np.random.default_rng([seed, layer])
    directions = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, 8)))[0].T
    strength = max(0.0, layer - n_layers / 2 + 1) * 3
    X = rng.normal(size=(len(prompts.prompts), d)) + 4 * rng.normal(size=d)
    categories = list(dict.fromkeys(p.category for p in prompts.prompts))
    for row, prompt in enumerate(prompts.prompts):
        X[row] += strength * (prompt.label == "tool") * directions[0]
        X[row] += strength * directions[1 + categories.index(prompt.category)]
    return X


def write_planted(stem, *, prompts=None, n_layers=4, d=96, sites=("resid_post",), seed=0, **kinds):
    """Write ``<stem>.safetensors`` and its manifest; ``positions`` and ``layers`` may be given."""
    prompts = prompts or prompt_set()
    positions = kinds.get("positions", ("last",))
    layers = kinds.get("layers", range(n_layers))
    places = [(site, at) for site in sites for at in ((0,) if site == "embed" else layers)]
    identity = ModelIdentity(id="planted", n_layers=n_layers, d_model=d, weights_sha256="0")
    with ActivationsWriter(
        stem,
        ArrayPlan(sites_layers=places, positions=positions, d_model=d),
        prompts=prompts,
        origin=Origin.of(stem, parameters={"format": "chat"}, inputs=[], model=identity),
    ) as writer:
        for site, layer in places:
            for k, position in enumerate(positions):
                values = rows(prompts, d, layer, n_layers, seed + 17 * k)
                writer.put(site, layer, position, np.arange(len(values)), values)
        writer.done(0)
        return writer.finish(run=Run.since(time.perf_counter()))
