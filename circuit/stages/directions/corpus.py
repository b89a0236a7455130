"""The corpus of ``mean_centered``: prompts of neither class, from the same archive or another.

    --corpus ARCHIVE   every prompt of that archive, labelled or not
    otherwise          every prompt of the archive that is in neither class: unlabelled ones, other
                       labels, and for a tool the prompts without one

Prompts that share a text or a group (template) with those of the two classes are left out: a
near-copy of a held-out prompt must not be in the fit that scores it. With no corpus left the method
is the difference of means, which is noted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.arrays import Array
from circuit.methods.directions import load
from circuit.stages.rows.contrasts import Contrast, Place, check_position
from circuit.stages.rows.same_weights import other_weights
from circuit.stages.run import Note


@dataclass(frozen=True)
class Corpus:
    """An archive, and which of its prompts are the corpus of each contrast."""

    archive: Activations | None  # None: the archive of the contrasts itself
    chosen: dict[str, Array]  # contrast -> row numbers

    def holds(self, contrast: Contrast) -> bool:
        """Say whether there is any prompt of neither class."""
        return len(self.chosen[contrast.name]) > 0

    def rows(self, contrast: Contrast, own: Array, place: Place, layer: int) -> Array | None:
        """Return the corpus (m, d) of a contrast, None where it is empty.

        ``own`` (n, d) are all rows of the archive of the contrasts.
        """
        if not self.holds(contrast):
            return None
        archive, chosen = self.archive, self.chosen[contrast.name]
        rows = own if archive is None else archive.read(place.site, layer, place.position)
        return rows[chosen]


def open_corpus(
    path: Path | None, method: str, activations: Activations, place: Place
) -> Activations | None:
    """Open the archive of ``--corpus``; raise where it does not fit the method or the archive."""
    if path is None:
        return None
    if not load(method).corpus:
        message = f"`{method}` compares with the negative class only, not with a corpus"
        hint = "leave --corpus out, or use --method mean_centered"
        raise UsageError("option-not-applicable", message, hint=hint, method=method)
    opened = Activations.open(path)
    site, same_model = place.site, "collect the corpus with the same model"
    ours, theirs = activations.manifest.model, opened.manifest.model
    if opened.width(site) != activations.width(site):
        message = (
            f"`{path}` has width {opened.width(site)} at `{site}`, "
            f"`{activations.path}` has {activations.width(site)}"
        )
        raise DataError("widths-differ", message, hint=same_model, site=site)
    check_position(opened, place.position)
    if ours and theirs and other_weights(ours, theirs):
        message = f"`{path}` was collected with other weights (`{theirs.id}`) than `{ours.id}`"
        raise DataError("other-model", message, hint=same_model, model=theirs.id)
    return opened


def corpus_of(
    activations: Activations,
    contrasts: Sequence[Contrast],
    groups: Array,
    archive: Activations | None,
    *,
    method: str,
    note: Note,
) -> Corpus | None:
    """Choose the corpus of every contrast, and note how large it is; None for other methods."""
    if not load(method).corpus:
        return None
    chosen = {
        each.name: _outside(each, groups)
        if archive is None
        else _unlike(each, activations, archive)
        for each in contrasts
    }
    sizes = [len(rows) for rows in chosen.values()]
    if archive is not None and not min(sizes):
        message = f"every prompt of `{archive.path}` shares a text or a group with the two classes"
        hint = "choose a corpus of other prompts"
        raise DataError("empty-corpus", message, hint=hint, path=str(archive.path))
    if any(sizes):
        note(f"{method}: a corpus of {sizes[0]} prompts of neither class ({contrasts[0].name})")
    else:
        note(
            f"{method}: the archive has no prompts of neither class, so this is the difference of "
            "means; --corpus ARCHIVE names others"
        )
    return Corpus(archive, chosen)


def _outside(contrast: Contrast, groups: Array) -> Array:
    """Return the rows of the same archive that are in no group of the contrast."""
    return np.flatnonzero(~np.isin(groups, contrast.groups))


def _unlike(contrast: Contrast, activations: Activations, archive: Activations) -> Array:
    """Return the rows of another archive that share no text and no group with the contrast."""
    texts, names = activations.prompt_set.texts, activations.groups()
    met = {texts[row] for row in contrast.rows} | {str(names[row]) for row in contrast.rows}
    pairs = zip(archive.prompt_set.texts, archive.groups().tolist(), strict=True)
    return np.flatnonzero([text not in met and name not in met for text, name in pairs])
