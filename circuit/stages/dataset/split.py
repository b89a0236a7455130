"""``dataset split``: divide a prompt set into two parts that share no group, no pair and no text.

Prompts that share any of the three are one *component* and stay together. Components are placed one by one, the largest
first: into the test part when that brings its counts per label and per category closer to ``test_fraction`` of all, by the sum
of squared differences. Ties are in an order that the seed decides.
"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from circuit.artifacts.files.paths import refuse_input
from circuit.artifacts.manifest.manifest import digest
from circuit.artifacts.prompts.builtin import given_set, spelled
from circuit.artifacts.prompts.prompts import PromptSet, group_of, save_all
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import DataError, UsageError


def split(
    path: Path,
    train: Path,
    test: Path,
    *,
    test_fraction: float = 0.3,
    seed: int = 42,
    force: bool = False,
) -> tuple[PromptSet, PromptSet]:
    """Divide the set at ``path`` and write both parts, each with the digest of the whole."""
    if not 0 < test_fraction < 1:
        message = f"--test-fraction is {test_fraction}"
        raise UsageError(message, hint="it is a number between 0 and 1, such as 0.3")
    if train.resolve() == test.resolve():
        message = f"--train and --test are both `{train}`"
        raise UsageError(message, hint="give two files")
    path = given_set(path)
    for output in (train, test):
        refuse_input(output, [path])
    prompts = read_prompts(path)
    chosen = test_rows(prompts, test_fraction, seed)
    rows = {"train": np.flatnonzero(~chosen), "test": np.flatnonzero(chosen)}
    _require_labels(prompts, rows)
    parts = []
    for (part, indices), output in zip(rows.items(), (train, test), strict=True):
        parameters = {
            "source": {"path": spelled(path, output.parent), "sha256": digest(path)},
            "part": part,
            "test_fraction": test_fraction,
            "seed": seed,
        }
        subset = prompts.subset(indices, f"{prompts.name}/{part}")
        parts.append(subset.model_copy(update={"parameters": parameters}))
    save_all({train: parts[0], test: parts[1]}, force=force)
    return parts[0], parts[1]


def test_rows(prompts: PromptSet, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return which prompts belong to the test part, shape ``(n_prompts,)``."""
    component = components(prompts)
    counts = _counts(prompts, component)
    wanted = fraction * counts.sum(0)
    chosen = np.zeros(len(counts), bool)
    have = np.zeros_like(wanted)
    for index in sorted(range(len(counts)), key=lambda i: (-counts[i].sum(), _hash(seed, i))):
        with_it = have + counts[index]
        if ((with_it - wanted) ** 2).sum() < ((have - wanted) ** 2).sum():
            chosen[index], have = True, with_it
    return chosen[component]


def components(prompts: PromptSet) -> NDArray[np.intp]:
    """Number the sets of prompts that are linked by a group, a pair or a text."""
    parent = list(range(len(prompts.prompts)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, prompt in enumerate(prompts.prompts):
        keys = {"group": group_of(prompt), "pair": prompt.pair, "text": prompt.text}
        for kind, key in keys.items():
            if key is not None:
                parent[root(row)] = root(first.setdefault((kind, key), row))
    return np.unique([root(row) for row in range(len(parent))], return_inverse=True)[1]


def _counts(prompts: PromptSet, component: NDArray[np.intp]) -> NDArray[np.float64]:
    """Count labels and categories in each component, ``(n_components, n_labels + n_categories)``."""
    keys = [(("label", p.label), ("category", p.category, p.label)) for p in prompts.prompts]
    column = {key: i for i, key in enumerate(dict.fromkeys(k for pair in keys for k in pair))}
    counts = np.zeros((component.max() + 1, len(column)))
    for row, pair in zip(component, keys, strict=True):
        for key in pair:
            counts[row, column[key]] += 1
    return counts


def _require_labels(prompts: PromptSet, rows: dict[str, NDArray[np.intp]]) -> None:
    used = Counter(p.label for p in prompts.prompts if p.label is not None)
    for part, indices in rows.items():
        missing = set(used) - {prompts.prompts[i].label for i in indices}
        if missing or not indices.size:
            label = f"no prompt with the label `{min(missing)}`" if missing else "no prompts"
            message = f"the {part} part of `{prompts.name}` would have {label}"
            hint = "each label needs prompts of at least two groups: add templates, or change the fraction"
            raise DataError(message, hint=hint)


def _hash(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}/{index}".encode()).digest()
