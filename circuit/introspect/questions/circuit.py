"""``circuit introspect circuit``: heads and MLPs that alone keep a behaviour, against random sets.

The behaviour is that one token is predicted after prompts of one label and not after those of the
other. With s the log-odds of that token, or its logit against another given token's, B = mean of s
over the positive prompts − mean over the negative ones. Of a set of nodes
(``circuit.model.patching.nodes``), with all others at their mean,

    faithfulness = (B(set) − B(nothing)) / (B(all) − B(nothing))

(Wang et al. 2022, 2211.00593; Marks et al. 2024, 2403.19647). Half of the groups of prompts is for
the search: nodes are ranked by attribution patching, the strongest are verified by leaving each
out, and the set is the shortest prefix of that ranking that keeps ``--keep`` of the effect, pruned
(``circuit.methods.steering.shortest_prefix``). The other half is for the reported numbers: the
faithfulness with its interval over groups, what is left *without* the set (but with the embedding),
and random sets with as many heads and MLPs (and the embedding where the set has it).

Another set may do as well, and edges are not searched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.prompts.read import read_prompts
from circuit.introspect.circuits.faithfulness import KEEP, N_RANDOM, VERIFY, CircuitResult, Search
from circuit.introspect.circuits.pictures import draw_circuit, write_dot
from circuit.introspect.circuits.search import split
from circuit.introspect.inputs.choices import check_kept_fraction
from circuit.introspect.plans import asked, question
from circuit.present.document import Cell, Document, Facts, Number, Part, Table, Text
from circuit.present.numbers import formatted, interval, listed
from circuit.stages.figures.picture_files import check_picture
from circuit.stages.options import TEMPLATE, ModelOptions, OutputOptions, SeedOptions, chat_option
from circuit.stages.rows.prompting import choose_format
from circuit.stages.run import Command, Plan, Session
from circuit.values import schemas
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

NAMES = {"head": "heads", "mlp": "MLPs", "embed": "the embedding"}


@dataclass(frozen=True, kw_only=True)
class CircuitRequest:
    r"""Find the heads and MLPs that keep a behaviour, and compare them with random sets.

    Examples:
      circuit introspect circuit -m tiny -d prompts.json -o circuit.json --dot circuit.dot \
        --plot circuit.png
      circuit introspect circuit -m tiny -d prompts.json --answer "<tool_call>" --keep 0.5 \
        --random 5 --verify 5
    """

    model: ModelOptions = group(ModelOptions)
    prompts: Path = option("--dataset", "-d", help="Prompts with two labels (prompts.json).")
    answer: str | None = option(
        "--answer",
        help="Token of the second label.",
        default=None,
        shown_default="the top-1 token of its prompts",
    )
    wrong: str | None = option(
        "--wrong", help="Against this token.", default=None, shown_default="all others"
    )
    keep: float = option("--keep", help="Fraction of the effect to keep.", default=KEEP)
    verify: int = option(
        "--verify", help="Strongest nodes to verify by leaving each out.", default=VERIFY, minimum=0
    )
    random: int = option(
        "--random", help="Random sets of the same size as baseline.", default=N_RANDOM, minimum=0
    )
    chat: bool | None = chat_option("the prompt set's", help=TEMPLATE)
    dot: Path | None = option("--dot", help="Write the set as a DOT file.", default=None)
    plot: Path | None = option("--plot", help="Draw all nodes (png, pdf, svg).", default=None)
    output: OutputOptions = group(OutputOptions)
    seed: SeedOptions = group(SeedOptions)


def plan(request: CircuitRequest) -> Plan[CircuitResult]:
    """Read the prompts and split them."""
    check_picture(request.plot)
    check_kept_fraction(request.keep)
    given = read_prompts(request.prompts)
    split(given, request.seed.seed)
    form = choose_format(given, chat=request.chat, system=None, tools=None)

    def answer(model: "LoadedModel", session: Session) -> CircuitResult:
        search = Search(model, given, form, request.answer, request.wrong, request.seed.seed)
        return search.run(
            keep=request.keep, verify=request.verify, n_random=request.random, session=session
        )

    return question(
        request,
        CircuitResult,
        schemas.CIRCUIT,
        inputs=[request.prompts],
        parameters=asked(request, format=form.name),
        answer=answer,
        pictures={request.dot: write_dot, request.plot: draw_circuit},
    )


def present(result: CircuitResult) -> Document:
    """Show the set, how much of the behaviour it keeps, and what random sets keep."""
    n = result.prompts
    against = "all other tokens" if result.wrong is None else repr(result.wrong)
    about: list[tuple[str, Cell]] = [
        ("Model", f"{result.model} ({result.format}, `{result.prompts_name}`)"),
        ("Answer", f"{result.answer!r} against {against}"),
        (
            "Prompts",
            f"{n['search, positive']} and {n['search, negative']} for the search, "
            f"{n['held out, positive']} and {n['held out, negative']} held out",
        ),
        (
            "Difference of the labels",
            f"{interval(result.behaviour, '.3f')} logits; "
            f"with every node at its mean {result.nothing:+.2f}",
        ),
    ]
    kept: list[tuple[str, Cell]] = [
        (
            "Faithfulness, held out",
            f"{interval(result.faithfulness, '.3f')} "
            f"(search: {result.search_faithfulness:.3f}, "
            f"target: {result.keep:g})",
        ),
        ("The embedding and all nodes but these", interval(result.without, ".3f")),
        ("Random sets", _random(result)),
    ]
    parts: list[Part] = [Facts(about), _node_table(result), Facts(kept)]
    if shared := shared_by_random(result):
        parts.append(Text([shared]))
    return Document("", parts)


def _node_table(result: CircuitResult) -> Table:
    found = [node for node in result.nodes if node.is_found]
    kinds = {kind: sum(node.kind == kind for node in found) for kind in NAMES}
    embedding = ", the embedding" if kinds["embed"] else ""
    title = (
        f"Found: {len(found)} of {len(result.nodes)} nodes "
        f"({kinds['head']} heads, {kinds['mlp']} MLPs{embedding})"
    )
    ranks = formatted(result.rank_correlation)
    note = (
        "(effect of leaving out this node alone, as a fraction of the whole; rank correlation of "
        f"estimates and effects among the verified nodes: {ranks})"
    )
    return Table.of(
        found,
        {
            "node": lambda node: node.name,
            "estimate": lambda node: Number(node.estimate, "+.3f"),
            "effect": lambda node: Number(node.effect, "+.3f"),
        },
        title=title,
        note=note,
    )


def _random(result: CircuitResult) -> str:
    if not result.random:
        return "none drawn"
    low, high = result.random_band
    return (
        f"{len(result.random)} with as many heads and MLPs: 5 % to 95 % at {low:.3f} to "
        f"{high:.3f}, at most {max(result.random):.3f}"
    )


def shared_by_random(result: CircuitResult) -> str:
    """Say which kinds the set, and so every random set, has whole; or nothing."""
    found = {kind: [node.is_found for node in result.nodes if node.kind == kind] for kind in NAMES}
    whole = [kind for kind, marks in found.items() if marks and all(marks)]
    if not result.random or not {"head", "mlp"} & {*whole}:
        return ""
    names = listed([NAMES[kind] if kind == "embed" else f"all {NAMES[kind]}" for kind in whole])
    compared = [NAMES[k] for k in ("head", "mlp") if any(found[k]) and not all(found[k])]
    what = f"only {listed(compared)} are compared" if compared else "nothing is compared"
    return f"Every random set has {names}, too: {what}."


COMMAND = Command(request=CircuitRequest, plan=plan, present=present)
