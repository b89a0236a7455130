"""What fine-tuning changed in the weights: per tensor, per component, and along how many directions.

Two checkpoints are read from the disk tensor by tensor (``model.weights``); neither model is loaded. Of each tensor that both have in one
shape: ‖B − A‖_F / ‖A‖_F, their cosine, and of matrices that are small enough the spectrum of B − A (``methods.matrix_change``). A *component*
is the attention, the MLP, the norms of a layer, or the embedding, the final norm and the head of the model: its numbers are those of all
its tensors as one vector. Tensors that only one has, or in another shape, are listed.

Storage has a size of its own: rounding to bfloat16 changes weights by about 0.1 %, packing to 4 bits by several percent. Where both
are not stored alike, that is part of the difference.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from circuit.errors import DataError
from circuit.methods.geometry.matrix_change import Spectrum, Sums, spectrum, sums, total
from circuit.stages.run import Track, untracked

LARGEST_SVD = 1024  # the shorter side of a matrix whose spectrum is computed
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_KINDS = (
    ("norm", re.compile(r"norm|(?:^|\.)ln_|layernorm", re.IGNORECASE)),
    ("embedding", re.compile(r"embed|(?:^|\.)wte|(?:^|\.)wpe")),
    ("head", re.compile(r"lm_head|output_layer")),
    ("attention", re.compile(r"attn|attention|[qkvo]_proj|mixer")),
    ("mlp", re.compile(r"mlp|feed_forward|ffn|expert|moe|gate_proj|up_proj|down_proj")),
)


@dataclass(frozen=True)
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
    spectrum: Spectrum | None = None


@dataclass(frozen=True)
class ComponentDiff:
    """All tensors of one component as one vector; ``layer`` is None for all layers together."""

    kind: str
    layer: int | None
    n_tensors: int
    n_numbers: int
    relative: float | None
    cosine: float | None


@dataclass(frozen=True)
class WeightDiff:
    """Everything that both checkpoints hold, and what only one does."""

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
    checkpoints: list[dict[str, str | None]]  # fingerprints of both

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON holds it."""
        return asdict(self)


def weight_diff(
    base: str,
    finetuned: str,
    *,
    revision: str | None = None,
    top: int = 5,
    largest_svd: int = LARGEST_SVD,
    track: Track = untracked,
) -> WeightDiff:
    """Compare two checkpoints; ``top`` singular values are kept, 0 computes none.

    Raises ``DataError`` where the two share no name of a tensor, or no shape of one.
    """
    from circuit.model.checkpoint.weights import open_weights

    a, b = open_weights(base, revision), open_weights(finetuned, revision)
    shared = [name for name in a.tensors if name in b.tensors]
    alike = [name for name in shared if a.tensors[name].shape == b.tensors[name].shape]
    if not alike:
        raise _nothing_alike(a, b, shared)
    found = [
        _tensor(a, b, name, top, largest_svd) for name in track(alike, "Comparing", len(alike))
    ]
    tensors = [each for each, _ in found]
    skipped = [t for t in tensors if t.spectrum is None and t.largest and len(t.shape) > 1]
    return WeightDiff(
        base,
        finetuned,
        tensors,
        _components(found),
        _component("whole", None, [part for _, part in found]),
        sorted((name for name in a.tensors if name not in b.tensors), key=natural),
        sorted((name for name in b.tensors if name not in a.tensors), key=natural),
        [(n, a.tensors[n].shape, b.tensors[n].shape) for n in shared if n not in set(alike)],
        sum(each.largest == 0 for each in tensors),
        len(skipped),
        (_depth(a.tensors), _depth(b.tensors)),
        [a.fingerprint(), b.fingerprint()],
    )


def _nothing_alike(a: Any, b: Any, shared: Sequence[str]) -> DataError:
    if not shared:
        hint = f"the first has `{next(iter(a.tensors))}`, the second `{next(iter(b.tensors))}`"
        return DataError(f"`{a.id}` and `{b.id}` share no name of a tensor", hint=hint)
    name = min(shared, key=natural)
    shapes = [" x ".join(map(str, each.tensors[name].shape)) for each in (a, b)]
    return DataError(
        f"no tensor of `{a.id}` has its shape in `{b.id}`: `{name}` is {shapes[0]} in the first and {shapes[1]} in the second",
        hint="weights are compared number by number: give two checkpoints of one architecture",
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Return the key that sorts names with their numbers as numbers: layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _tensor(a: Any, b: Any, name: str, top: int, largest_svd: int) -> tuple[TensorDiff, Sums]:
    from circuit.model.checkpoint.weights import matrix, pieces

    x, y = a.read(name), b.read(name)
    added = sums(pieces(x, y))
    shape = a.tensors[name].shape
    kind, layer = place_of(name)
    found = TensorDiff(
        name,
        kind,
        layer,
        shape,
        (a.tensors[name].stored, b.tensors[name].stored),
        added.relative,
        added.cosine,
        added.largest,
    )
    if top and added.change and len(shape) == 2 and min(shape) <= largest_svd:
        found = replace(found, spectrum=spectrum(matrix(y) - matrix(x), top))
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
    return ComponentDiff(kind, layer, len(parts), added.size, added.relative, added.cosine)
