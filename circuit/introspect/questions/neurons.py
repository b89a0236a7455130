"""``circuit introspect neurons``: single neurons of one MLP.

A neuron's activation is a column of ``mlp_act``, the input of the block's last map. It writes its
activation times a vector w_i (``model.interventions.neurons``). Which neurons are shown:

    by number       those that are named
    by direction    the largest |w_i · v| for a steering file's v: what an activation of 1 adds
                    along it, and cos(w_i, v) with that of as many random directions
    discovered      those whose activation at the last token separates two labels best. The best of
                    thousands separates noise, so its quality is held out
                    (``methods.quality.single_feature``)

For each: its activation at every token, its mean activation at the last token by label with a
bootstrap interval over groups, and the tokens that w_i promotes through the model's own tail, the
direct effect only (``stages.directions.tokens``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.directions.direction import Direction
from circuit.artifacts.steering_files.files import read_steering_file
from circuit.errors import UsageError
from circuit.introspect.inputs.per_prompt import labels_of
from circuit.introspect.neurons.choice import (
    Neuron,
    NeuronChoice,
    chosen_neurons,
    discovery_of,
    means_by_label,
    parse_indices,
    share_of,
    token_activations,
)
from circuit.introspect.plans import asked, question
from circuit.methods.quality.chance_cosine import cosine_bound
from circuit.methods.quality.single_feature import FeatureChoice
from circuit.present.document import (
    Cell,
    Document,
    Estimate,
    Facts,
    Number,
    Part,
    Section,
    Table,
    Text,
)
from circuit.present.numbers import few_groups, interval, p_text
from circuit.stages.directions.tokens import TokenEffect, promoted_by, the_one
from circuit.stages.options import ModelOptions, OutputOptions, PromptsOptions, SeedOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.same_weights import check_model
from circuit.stages.run import Command, Plan, Result
from circuit.values import schemas
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.requests import group, option
from circuit.values.thresholds import LEVEL, MIN_GROUPS

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

SHOWN = 4  # prompts whose tokens are shown one by one
TOP_TOKENS = 5


@dataclass(frozen=True, kw_only=True)
class NeuronsRequest:
    r"""Show single neurons: activations, which separate labels, which tokens they promote.

    Examples:
      circuit introspect neurons -m tiny -p "50 + 25 = |50 + 25 =" -l 3 -n 5,7 --labels works,fails
      circuit introspect neurons -m tiny -p "50 + 25 = " --from-direction computation.npz --top-k 3
      circuit introspect neurons -m tiny -p @prompts.json -l 2 --auto-discover --top-k 3 -o \
        neurons.json
    """

    model: ModelOptions = group(ModelOptions)
    prompts: PromptsOptions = group(PromptsOptions)
    layer: str | None = option(
        "--layer",
        "-l",
        help="One layer: 3, -1, 50%.",
        default=None,
        shown_default="the direction's",
    )
    neurons: list[str] | None = option(
        "--neurons", "-n", help="Numbers of neurons: 5,7; repeatable.", default=None
    )
    from_direction: Path | None = option(
        "--from-direction",
        help="Those that write most along the direction of a steering file.",
        default=None,
    )
    auto_discover: bool = option(
        "--auto-discover", help="Those that separate the labels best.", default=False
    )
    top_k: int = option("--top-k", help="Neurons to choose.", default=10, minimum=1)
    labels: str | None = option(
        "--labels", help="A label for each prompt.", default=None, shown_default="the prompt set's"
    )
    allow_other_model: bool = option(
        "--allow-other-model", help="Use a direction of another model.", default=False
    )
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


@dataclass(frozen=True, kw_only=True)
class NeuronsResult(Result):
    """The neurons that were chosen, and how."""

    model: str
    layer: int
    n_neurons: int
    format: str
    prompts: list[str]
    labels: list[str]
    tokens: list[list[str]]
    how: str
    neurons: list[Neuron]
    chance_cosine: float | None
    discovery: FeatureChoice | None
    claimed: bool | None
    random_promotes: list[float]
    n_groups: int


def plan(request: NeuronsRequest) -> Plan[NeuronsResult]:
    """Read the prompts, their labels, and which neurons are chosen."""
    given = read_prompt_input(request.prompts.prompts)
    unlabelled = request.labels is None and given.prompt_set is None
    labels = None if unlabelled else labels_of(given, request.labels)
    file = request.from_direction
    choice = NeuronChoice(
        indices=parse_indices(request.neurons or []),
        direction=None if file is None else the_one(read_steering_file(file)),
        discover=request.auto_discover,
        top_k=request.top_k,
    )
    layer = request.layer
    if layer is None and choice.direction is None:
        raise UsageError("no-layer", "the layer of the neurons is missing", hint="name it with -l")
    form = given.form(request.prompts.chat)

    def layer_of(model: "LoadedModel") -> int:
        if choice.direction is not None:
            check_model(choice.direction, model, allow_other=request.allow_other_model)
        return one_layer(model, layer, choice.direction)

    return question(
        request,
        NeuronsResult,
        schemas.NEURONS,
        inputs=[*given.inputs, *([] if file is None else [file])],
        parameters=asked(
            request,
            without=("layer", "allow_other_model"),
            prompts=given.texts,
            labels=labels,
            neurons=choice.indices,
            format=form.name,
        ),
        of_model=lambda model: {"layer": layer_of(model)},
        answer=lambda model, _: neurons(
            model,
            given,
            choice,
            layer=layer_of(model),
            labels=labels,
            form=form,
            seed=request.seed.seed,
        ),
    )


def neurons(
    model: "LoadedModel",
    given: PromptInput,
    choice: NeuronChoice,
    *,
    layer: int,
    labels: Sequence[str] | None = None,
    form: PromptFormat = RAW,
    seed: int = 0,
) -> NeuronsResult:
    """Choose neurons of a layer and describe them."""
    from circuit.model.interventions.neurons import write_vectors

    named = list(labels) if labels is not None else [""] * len(given.texts)
    tokens, states = token_activations(model, given, form, layer)
    last = np.stack([rows[-1] for rows in states])
    vectors = write_vectors(model, layer)
    direction = choice.direction
    discovery = discovery_of(last, named, given, choice, seed) if choice.discover else None
    chosen = chosen_neurons(choice, discovery, vectors, layer)
    lengths = np.linalg.norm(vectors[chosen], axis=1).tolist()
    units = [
        (vectors[index] / (length or 1)).astype(np.float32)
        for index, length in zip(chosen, lengths, strict=True)
    ]
    promoted, random = promoted_by(model, units, top=TOP_TOKENS, seed=seed)
    found = [
        Neuron(
            index=index,
            activations=[np.round(rows[:, index].astype(float), 6).tolist() for rows in states],
            by_label=means_by_label(last[:, index], named, given.groups),
            write_norm=length,
            along=None if direction is None else share_of(vectors[index], direction.vector),
            promoted=effects.promoted,
            suppressed=effects.suppressed,
        )
        for index, length, effects in zip(chosen, lengths, promoted, strict=True)
    ]
    bound = None if direction is None else cosine_bound(model.d_model, pairs=len(vectors))
    return NeuronsResult(
        model=model.id,
        layer=layer,
        n_neurons=len(vectors),
        format=form.name,
        prompts=given.texts,
        labels=named,
        tokens=tokens,
        how=choice.words,
        neurons=found,
        chance_cosine=None if bound is None else round(bound, 6),
        discovery=discovery,
        claimed=_claim(discovery),
        random_promotes=random,
        n_groups=given.n_groups,
    )


def _claim(discovery: FeatureChoice | None) -> bool | None:
    if discovery is None or discovery.n_groups < MIN_GROUPS:
        return None
    return discovery.p <= LEVEL


def one_layer(model: "LoadedModel", layer: str | None, direction: Direction | None) -> int:
    """Return the one layer that is named, or that of the direction."""
    named = str(direction.layer) if layer is None and direction is not None else str(layer)
    found = parse_layers(named, range(model.n_layers), model.n_layers)
    if len(found) != 1:
        message = f"`{layer}` names {len(found)} layers, and neurons are read in one"
        raise UsageError("several-layers", message, hint="name one layer with -l", layers=found)
    return found[0]


def present(result: NeuronsResult) -> Document:
    """Show activations over tokens, means by label, and what each neuron writes."""
    parts: list[Part] = [Facts(_about(result)), *_discovery(result)]
    if result.chance_cosine is not None:
        parts.append(_along_table(result.neurons, result.chance_cosine))
    for i, prompt in enumerate(result.prompts[:SHOWN]):
        parts.append(Section(f"Activations: {prompt!r}", [_token_table(result, i)]))
    if (more := len(result.prompts) - SHOWN) > 0:
        parts.append(Text([f"({more} more prompts: --json or -o has their tokens)"]))
    parts += [_label_table(result.neurons), _promoted_table(result)]
    return Document("", [*parts, *few_groups(result.n_groups)])


def _about(result: NeuronsResult) -> list[tuple[str, Cell]]:
    number = f"{len(result.neurons)} of {result.n_neurons} neurons, {result.how}"
    return [("Model", f"{result.model} ({result.format})"), (f"Layer {result.layer}", number)]


def _discovery(result: NeuronsResult) -> list[Part]:
    found = result.discovery
    if found is None:
        return []
    lines = [
        f"Held-out AUROC of choosing the best: {interval(found.auroc)}, p {p_text(found.p)} "
        f"(chosen by fold: {', '.join(map(str, found.by_fold))})"
    ]
    if result.claimed is not None:
        lines.append(
            "One neuron separates the labels on prompts that it was not chosen on."
            if result.claimed
            else "No neuron does better than with permuted labels."
        )
    return [Text(lines)]


def _along_table(neurons: Sequence[Neuron], bound: float) -> Table:
    along = [(each.index, each.along) for each in neurons if each.along is not None]
    return Table.of(
        along,
        {
            "neuron": lambda each: str(each[0]),
            "w . v": lambda each: Number(each[1].dot, "+.4f"),
            "cosine": lambda each: Number(each[1].cosine, "+.3f"),
        },
        title="Along the direction",
        note=f"(the largest |cosine| of as many random directions: 95 % below {bound:.3f})",
    )


def _token_table(result: NeuronsResult, prompt: int) -> Table:
    """Show a row for each token and a column for each neuron."""
    rows: list[list[Cell]] = [
        [repr(token), *(Number(each.activations[prompt][i], "+.2f") for each in result.neurons)]
        for i, token in enumerate(result.tokens[prompt])
    ]
    return Table(header=["token", *(str(each.index) for each in result.neurons)], rows=rows)


def _label_table(found: Sequence[Neuron]) -> Table:
    labels = list(found[0].by_label)
    rows: list[list[Cell]] = [
        [str(each.index), *(Estimate.of(each.by_label[label], ".3f") for label in labels)]
        for each in found
    ]
    header = ["neuron", *(label or "mean" for label in labels)]
    return Table(title="At the last token", header=header, rows=rows)


def _promoted_table(result: NeuronsResult) -> Table:
    low, high = result.random_promotes
    note = (
        "(logits at a step of 0.1 of the residual's norm each way; the strongest token of a random "
        f"direction has {low:.2f}, 95 % below {high:.2f})"
    )
    return Table.of(
        result.neurons,
        {
            "neuron": lambda each: str(each.index),
            "|w|": lambda each: Number(each.write_norm),
            "promotes": lambda each: _tokens(each.promoted),
            "suppresses": lambda each: _tokens(each.suppressed),
        },
        title="What they promote",
        note=note,
    )


def _tokens(found: Sequence[TokenEffect]) -> str:
    return " ".join(f"{each.token!r} {each.difference:+.1f}" for each in found[:3])


COMMAND = Command(request=NeuronsRequest, plan=plan, present=present)
