"""The corpus of ``mean_centered``: prompts of neither class, from the same archive or from another.

    --corpus ARCHIVE   every prompt of that archive, labelled or not
    otherwise          every prompt of the archive that is in neither class: unlabelled ones, other labels, and for a
                       tool the prompts without one

Left out of it is what shares a text or a group (template) with the prompts of the two classes: a near-copy of a held-out prompt has no
part in what scores it. With nothing left the method is the difference of means, and that is said in words.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.errors import DataError, UsageError
from circuit.methods.directions import load
from circuit.stages.rows.contrasts import Contrast
from circuit.stages.rows.questions import Array, Note
from circuit.stages.rows.same_weights import other_weights


@dataclass(frozen=True)
class Corpus:
    """An archive, and which of its prompts stand beside the two classes of each contrast."""

    archive: Activations | None  # None: the archive of the contrasts itself
    rows: dict[str, Array]  # contrast -> row numbers

    def stands_beside(self, contrast: Contrast) -> bool:
        """Say whether there is any prompt beside the two classes."""
        return len(self.rows[contrast.name]) > 0

    def beside(self, contrast: Contrast, own: Array, place: tuple[str, int, str]) -> Array | None:
        """Return the rows (m, d) for one contrast at ``place``, or None where there are none; ``own`` (n, d) is the archive."""
        if not self.stands_beside(contrast):
            return None
        chosen = self.rows[contrast.name]
        return own[chosen] if self.archive is None else self.archive.read(*place)[chosen]


def check_corpus(method: str, corpus: Path | None) -> None:
    """Refuse a corpus that the method would not look at."""
    if corpus is not None and not load(method).corpus:
        message = f"`{method}` compares with the negative class only, not with a corpus"
        raise UsageError(message, hint="leave --corpus out, or use --method mean_centered")


def corpus_of(
    activations: Activations,
    contrasts: list[Contrast],
    groups: Array,
    place: tuple[str, str],
    method: str,
    other: Path | None,
    note: Note,
) -> Corpus | None:
    """Choose the corpus of every contrast, and say how large it is; None for other methods."""
    if not load(method).corpus:
        return None
    archive = None if other is None else _opened(other, activations, place)
    chosen = {
        each.name: _outside(each, groups)
        if archive is None
        else _unlike(each, activations, archive)
        for each in contrasts
    }
    sizes = [len(rows) for rows in chosen.values()]
    if archive is not None and not min(sizes):
        message = f"every prompt of `{other}` shares a text or a group with the two classes"
        raise DataError(message, hint="choose a corpus of other prompts")
    if not any(sizes):
        note(
            f"{method}: the archive has no prompts beside the two classes, so this is the difference of means; "
            "--corpus ARCHIVE names others"
        )
    else:
        note(f"{method}: a corpus of {sizes[0]} prompts of neither class ({contrasts[0].name})")
    return Corpus(archive, chosen)


def _opened(path: Path, activations: Activations, place: tuple[str, str]) -> Activations:
    site, position = place
    opened = Activations.open(path)
    if opened.width(site) != activations.width(site):
        message = (
            f"`{path}` has width {opened.width(site)} at `{site}`, "
            f"`{activations.path}` has {activations.width(site)}"
        )
        raise DataError(message, hint="collect the corpus with the same model")
    if position not in opened.positions:
        message = f"`{path}` holds no position `{position}`"
        raise UsageError(message, hint=f"it holds {', '.join(opened.positions)}")
    ours, theirs = activations.manifest.model, opened.manifest.model
    if ours and theirs and other_weights(ours, theirs):
        message = f"`{path}` was collected with other weights (`{theirs.id}`) than `{ours.id}`"
        raise DataError(message, hint="collect the corpus with the same model")
    return opened


def _outside(contrast: Contrast, groups: Array) -> Array:
    """Rows of the same archive that are in no group of the contrast."""
    return np.flatnonzero(~np.isin(groups, contrast.groups))


def _unlike(contrast: Contrast, activations: Activations, archive: Activations) -> Array:
    """Rows of another archive that share no text and no group with the contrast."""
    texts, names = activations.prompt_set.texts, activations.groups()
    met = {texts[row] for row in contrast.rows} | {str(names[row]) for row in contrast.rows}
    pairs = zip(archive.prompt_set.texts, archive.groups().tolist(), strict=True)
    return np.flatnonzero([text not in met and name not in met for text, name in pairs])
