"""``circuit introspect weight-diff``: what fine-tuning changed in the weights.

Two checkpoints are read from disk tensor by tensor (``model.checkpoint.weights``); neither model
is loaded. Of each tensor that both have in one shape: ‖B − A‖_F / ‖A‖_F, their cosine, and of
matrices that are small enough the spectrum of B − A (``methods.geometry.matrix_change``). A
*component* is the attention, the MLP, the norms of a layer, or the embedding, the final norm and
the head of the model: all its tensors count as one vector. Tensors that only one checkpoint has, or
in another shape, are listed.

Storage rounds: bfloat16 changes weights by about 0.1 %, packing to 4 bits by several percent. Where
the checkpoints are not stored alike, that is part of the difference.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit.errors import DataError
from circuit.introspect.plans import asked
from circuit.methods.geometry.matrix_change import Spectrum, Sums, spectrum, sums, total
from circuit.present.document import Cell, Document, Facts, Number, Part, Table, Text
from circuit.stages.options import OutputOptions
from circuit.stages.run import Command, Job, Plan, Result, Session
from circuit.values import schemas
from circuit.values.requests import group, option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.checkpoint.weights import Weights

LARGEST_SVD = 1024  # the shorter side of a matrix whose spectrum is computed
MUCH, MARK = 0.1, "***"  # a larger relative change is marked
KINDS = ("attention", "mlp", "norm")
RANKS = (
    "Of B - A: the largest singular values, the stable rank (sum of their squares / the largest "
    "square), the effective rank (exp of the entropy of their shares)"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_KINDS = (
    ("norm", re.compile(r"norm|(?:^|\.)ln_|layernorm", re.IGNORECASE)),
    ("embedding", re.compile(r"embed|(?:^|\.)wte|(?:^|\.)wpe")),
    ("head", re.compile(r"lm_head|output_layer")),
    ("attention", re.compile(r"attn|attention|[qkvo]_proj|mixer")),
    ("mlp", re.compile(r"mlp|feed_forward|ffn|expert|moe|gate_proj|up_proj|down_proj")),
)


@dataclass(frozen=True, kw_only=True)
class WeightDiffRequest:
    """See which weights fine-tuning changed, how much, and along how many directions.

    Both checkpoints are read from disk tensor by tensor; neither model is loaded.

    Examples:
      circuit introspect weight-diff -b tiny -f tiny
      circuit introspect weight-diff -b tiny -f tiny --spectrum 0 -o weights.json
    """

    base: str = option("--base", "-b", help="Hub id, checkpoint folder, GGUF file, or tiny.")
    finetuned: str = option("--finetuned", "-f", help="The checkpoint that was made from it.")
    spectrum: int = option(
        "--spectrum", help="Singular values to keep; 0 computes none.", default=5, minimum=0
    )
    largest_svd: int = option(
        "--largest-svd",
        help="Longest shorter side of a matrix whose spectrum is computed.",
        default=LARGEST_SVD,
        minimum=1,
    )
    top: int = option("--top", help="Tensors to show.", default=10, minimum=1)
    revision: str | None = option(
        "--revision", help="Branch, tag or commit of models on the hub.", default=None
    )
    output: OutputOptions = group(OutputOptions)


@dataclass(frozen=True, kw_only=True)
class TensorDiff:
    """One tensor of both checkpoints."""

    name: str
    kind: str
    layer: int | None
    shape: tuple[int, ...]
    stored: tuple[str, str]
    relative: float | None
    cosine: float | None
    largest: float
    spectrum: Spectrum | None


@dataclass(frozen=True, kw_only=True)
class ComponentDiff:
    """All tensors of one component as one vector; ``layer`` is None for all layers together."""

    kind: str
    layer: int | None
    n_tensors: int
    n_numbers: int
    relative: float | None
    cosine: float | None


@dataclass(frozen=True, kw_only=True)
class WeightDiffResult(Result):
    """Every tensor of both checkpoints, and those of one; ``checkpoints`` are the fingerprints."""

    base: str
    finetuned: str
    tensors: list[TensorDiff]
    components: list[ComponentDiff]
    whole: ComponentDiff
    only_base: list[str]
    only_finetuned: list[str]
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    n_equal: int
    n_without_spectrum: int
    n_layers: tuple[int, int]
    checkpoints: list[dict[str, str | None]]


def plan(request: WeightDiffRequest) -> Plan[WeightDiffResult]:
    """Compare two checkpoints; a run is the same if their weights are."""
    from circuit.model.machine.runtime import require_mlx

    known = asked(request, without=["top"])

    def begin(model: "LoadedModel") -> Job[WeightDiffResult]:  # noqa: ARG001
        from circuit.model.checkpoint.weights import open_weights

        require_mlx()
        both = [open_weights(each, request.revision) for each in (request.base, request.finetuned)]
        checkpoints = [each.fingerprint() for each in both]

        def compute(session: Session) -> WeightDiffResult:
            a, b = both
            top, largest = request.spectrum, request.largest_svd
            return compare_weights(a, b, checkpoints, top=top, largest_svd=largest, session=session)

        return Job(parameters={**known, "checkpoints": checkpoints}, compute=compute)

    return Plan(
        result=WeightDiffResult,
        schema=schemas.WEIGHT_DIFF,
        output=request.output.output,
        force=request.output.force,
        known=known,
        begin=begin,
    )


def compare_weights(
    a: "Weights",
    b: "Weights",
    checkpoints: list[dict[str, str | None]],
    *,
    top: int,
    largest_svd: int,
    session: Session,
) -> WeightDiffResult:
    """Compare two checkpoints; ``top`` singular values are kept, 0 computes none.

    Raises ``DataError`` where the two share no name of a tensor, or no shape of one.
    """
    shared = [name for name in a.tensors if name in b.tensors]
    alike = [name for name in shared if a.tensors[name].shape == b.tensors[name].shape]
    if not alike:
        raise _nothing_alike(a, b, shared)
    tracked = session.track(alike, "Comparing", len(alike))
    found = [_tensor(a, b, name, top, largest_svd) for name in tracked]
    tensors = [each for each, _ in found]
    skipped = [t for t in tensors if t.spectrum is None and t.largest and len(t.shape) > 1]
    return WeightDiffResult(
        base=a.id,
        finetuned=b.id,
        tensors=tensors,
        components=_components(found),
        whole=_component("whole", None, [part for _, part in found]),
        only_base=sorted((name for name in a.tensors if name not in b.tensors), key=natural),
        only_finetuned=sorted((name for name in b.tensors if name not in a.tensors), key=natural),
        reshaped=[
            (n, a.tensors[n].shape, b.tensors[n].shape) for n in shared if n not in set(alike)
        ],
        n_equal=sum(each.largest == 0 for each in tensors),
        n_without_spectrum=len(skipped),
        n_layers=(_depth(a.tensors), _depth(b.tensors)),
        checkpoints=checkpoints,
    )


def _nothing_alike(a: "Weights", b: "Weights", shared: Sequence[str]) -> DataError:
    if not shared:
        message = f"`{a.id}` and `{b.id}` have no tensor name in common"
        hint = f"the first has `{next(iter(a.tensors))}`, the second `{next(iter(b.tensors))}`"
        return DataError("no-shared-tensor", message, hint=hint)
    name = min(shared, key=natural)
    shapes = [" x ".join(map(str, each.tensors[name].shape)) for each in (a, b)]
    return DataError(
        "tensor-shapes-differ",
        f"no tensor of `{a.id}` has its shape in `{b.id}`: `{name}` is {shapes[0]} in the first "
        f"and {shapes[1]} in the second",
        hint="weights are compared number by number: give two checkpoints of one architecture",
        tensor=name,
        shapes=shapes,
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Return the key that sorts names with their numbers as numbers: layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _tensor(
    a: "Weights", b: "Weights", name: str, top: int, largest_svd: int
) -> tuple[TensorDiff, Sums]:
    from circuit.model.checkpoint.weights import matrix, pieces

    x, y = a.read(name), b.read(name)
    added = sums(pieces(x, y))
    shape = a.tensors[name].shape
    kind, layer = place_of(name)
    has_spectrum = top and added.change and len(shape) == 2 and min(shape) <= largest_svd
    found = TensorDiff(
        name=name,
        kind=kind,
        layer=layer,
        shape=shape,
        stored=(a.tensors[name].stored, b.tensors[name].stored),
        relative=added.relative,
        cosine=added.cosine,
        largest=added.largest,
        spectrum=spectrum(matrix(y) - matrix(x), top) if has_spectrum else None,
    )
    return found, added


def place_of(name: str) -> tuple[str, int | None]:
    """Return the component that a tensor belongs to, by its name, and its layer."""
    match = _LAYER.search(name)
    kind = next((kind for kind, pattern in _KINDS if pattern.search(name)), "other")
    return kind, None if match is None else int(match[1])


def _depth(names: Iterable[str]) -> int:
    """Count the layers that tensors belong to."""
    return len({place_of(name)[1] for name in names} - {None})


def _components(found: Sequence[tuple[TensorDiff, Sums]]) -> list[ComponentDiff]:
    """Add up each kind over all layers, then each kind of each layer."""
    kinds = ("embedding", "attention", "mlp", "norm", "head", "other")
    layers = sorted({t.layer for t, _ in found if t.layer is not None})
    wanted: list[tuple[str, int | None]] = [(kind, None) for kind in kinds]
    wanted += [(kind, layer) for layer in layers for kind in kinds]
    listed = []
    for kind, layer in wanted:
        parts = [s for t, s in found if t.kind == kind and layer in (None, t.layer)]
        if parts:
            listed.append(_component(kind, layer, parts))
    return listed


def _component(kind: str, layer: int | None, parts: Sequence[Sums]) -> ComponentDiff:
    added = total(parts)
    return ComponentDiff(
        kind=kind,
        layer=layer,
        n_tensors=len(parts),
        n_numbers=added.size,
        relative=added.relative,
        cosine=added.cosine,
    )


def present(result: WeightDiffResult, top: int = 10) -> Document:
    """Show components, layers, and the ``top`` tensors that changed most."""
    parts: list[Part] = [_facts(result), _component_table(result)]
    if any(each.layer is not None for each in result.components):
        parts.append(_layer_table(result.components))
    changed = [each for each in result.tensors if each.largest]
    if changed:
        parts.append(_tensor_table(changed, top, result.n_without_spectrum))
    relatives = [each.relative for each in result.components]
    relatives += [each.relative for each in result.tensors]
    if any(value is not None and value > MUCH for value in relatives):
        parts.append(Text([f"{MARK}: a relative change over {MUCH:g}"]))
    if missing := _missing(result):
        parts.append(Text(missing))
    return Document("", parts)


def _facts(result: WeightDiffResult) -> Facts:
    facts: list[tuple[str, Cell]] = [
        ("Base", result.base),
        ("Fine-tuned", result.finetuned),
        ("Tensors", f"{len(result.tensors)}, {result.n_equal} of them equal"),
    ]
    a, b = result.n_layers
    if a != b:
        facts.append(("Blocks", f"{a} and {b}: those of equal number are compared"))
    stored = {each.stored for each in result.tensors if len(set(each.stored)) > 1}
    for one, other in sorted(stored):
        facts.append(("Stored as", f"{one} and {other}: rounding is part of the difference"))
    return Facts(facts)


def _component_table(result: WeightDiffResult) -> Table:
    whole = [each for each in result.components if each.layer is None]
    return Table.of(
        [*whole, result.whole],
        {
            "component": lambda each: each.kind,
            "tensors": lambda each: each.n_tensors,
            "numbers": lambda each: f"{each.n_numbers:,}",
            "|B - A| / |A|": lambda each: Number(each.relative, ".6f"),
            "cosine": lambda each: Number(each.cosine, ".6f"),
        },
        title="Components",
    )


def _layer_table(components: Sequence[ComponentDiff]) -> Table:
    known = {(each.layer, each.kind): each.relative for each in components}
    layers = sorted({layer for layer, _ in known if layer is not None})
    rows = [[str(k), *(_marked(known.get((k, kind))) for kind in KINDS)] for k in layers]
    return Table(title="Relative change by layer", header=["layer", *KINDS], rows=rows)


def _marked(value: float | None) -> Cell:
    much = value is not None and value > MUCH
    return f"{value:.6f} {MARK}" if much else Number(value, ".6f")


def _tensor_table(changed: Sequence[TensorDiff], top: int, n_without_spectrum: int) -> Table:
    notes = [RANKS] if any(each.spectrum is not None for each in changed) else []
    if n_without_spectrum:
        notes.append(f"No spectrum of {n_without_spectrum} tensors (--spectrum, --largest-svd)")

    def ranks(each: TensorDiff, name: str) -> Number:
        found = each.spectrum
        return Number(None if found is None else getattr(found, name), ".1f")

    def values(each: TensorDiff) -> Cell:
        return None if (s := each.spectrum) is None else " ".join(f"{v:.3g}" for v in s.values)

    return Table.of(
        sorted(changed, key=lambda each: -(each.relative or float("inf")))[:top],
        {
            "tensor": lambda each: each.name,
            "shape": lambda each: " x ".join(map(str, each.shape)),
            "|B - A| / |A|": lambda each: _marked(each.relative),
            "cosine": lambda each: Number(each.cosine, ".6f"),
            "singular values": values,
            "stable": lambda each: ranks(each, "stable_rank"),
            "effective": lambda each: ranks(each, "effective_rank"),
        },
        title="Changed most",
        note="\n".join(notes),
    )


def _missing(result: WeightDiffResult) -> list[str]:
    lines = [
        f"Only in the {words} ({len(names)}): {', '.join(names[:6])}{' ...' * (len(names) > 6)}"
        for names, words in (
            (result.only_base, "base"),
            (result.only_finetuned, "fine-tuned model"),
        )
        if names
    ]
    return [
        *lines,
        *(f"Another shape: {n}, {list(a)} and {list(b)}" for n, a, b in result.reshaped),
    ]


def _display(request: WeightDiffRequest) -> Mapping[str, object]:
    return {"top": request.top}


COMMAND = Command(request=WeightDiffRequest, plan=plan, present=present, display=_display)
