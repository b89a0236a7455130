"""A battery: a folder of probes, each a labelled prompt set that asks one question about the model.

    <folder>/<stratum>/<probe>.json      syntactic, semantic, decision, or any name of your own
    <folder>/<probe>.json                the stratum is then the file's own, or `other`

A probe is a template file (expanded with seed 42) or a prompt set. Without a folder the battery is
the built-in one. All prompts of one format make a *pool*: each text once, however many probes ask
it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit.artifacts.files.documents import canonical_json, read_json, schema_of
from circuit.artifacts.prompts.builtin import builtin_probes
from circuit.artifacts.prompts.prompts import Prompt, PromptSet, Rows
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import DataError, UsageError
from circuit.stages.probes.results import ProbeSummary
from circuit.stages.rows.prompting import choose_format
from circuit.values import schemas
from circuit.values.prompt_format import PromptFormat

SCHEMAS = (schemas.TEMPLATES, schemas.PROMPTS)
INIT = "`circuit probes init -o FOLDER` writes the built-in probes"
STRATA = ("syntactic", "semantic", "decision")


@dataclass(frozen=True)
class Probe:
    """One question: a prompt set, its stratum, and the file that it came from."""

    prompts: PromptSet
    stratum: str
    path: Path
    builtin: bool

    @property
    def name(self) -> str:
        """The name of its prompt set."""
        return self.prompts.name

    def classes(self) -> list[str]:
        """The labels of its prompts, in the order of their numbers."""
        return [self.prompts.labels[k] for k in np.unique(self.prompts.y()[1])]

    def rank(self) -> tuple[int, str, str]:
        """Its rank in a table: strata in the order of depth that is expected, then by name."""
        return (*_depth(self.stratum), self.name)


@dataclass(frozen=True)
class Pool:
    """The prompts of all probes that are asked in one format, each text once."""

    name: str
    form: PromptFormat
    probes: tuple[Probe, ...]
    prompts: PromptSet

    def rows(self, probe: Probe) -> Rows:
        """Return the pool's row of each prompt of ``probe``."""
        row = {text: i for i, text in enumerate(self.prompts.texts)}
        return np.array([row[text] for text in probe.prompts.texts], np.intp)


def load_battery(folder: Path | None = None, strata: Sequence[str] = ()) -> list[Probe]:
    """Read the probes of ``folder``, or the built-in ones, in the order of depth that is expected.

    ``strata`` keeps some of them. Raises ``UsageError`` for a stratum that the battery lacks.
    """
    probes = [_probe(path, folder) for path in _files(folder)]
    if not probes:
        message = f"`{folder}` holds no probes"
        raise DataError("no-probes", message, hint=INIT, path=str(folder))
    _refuse_equal_names(probes)
    known = sorted({probe.stratum for probe in probes}, key=_depth)
    for stratum in strata:
        if stratum not in known:
            message = f"unknown category `{stratum}`"
            hint = f"the battery has {', '.join(known)}"
            raise UsageError("unknown-category", message, hint=hint, category=stratum)
    chosen = [probe for probe in probes if not strata or probe.stratum in strata]
    return sorted(chosen, key=Probe.rank)


def summary(probe: Probe) -> ProbeSummary:
    """Describe a probe in the numbers that decide what it can show."""
    prompts = probe.prompts
    return ProbeSummary(
        name=probe.name,
        category=probe.stratum,
        question=prompts.question,
        description=prompts.description,
        labels=list(prompts.labels),
        format=prompts.format,
        prompts=len(prompts.prompts),
        groups=len(set(prompts.groups().tolist())),
        pairs=len(prompts.pairs()),
    )


def pools(probes: Iterable[Probe], *, chat: bool | None) -> list[Pool]:
    """Gather the probes by the format in which their prompts are put to the model."""
    gathered: dict[str, tuple[PromptFormat, list[Probe]]] = {}
    for probe in probes:
        form = choose_format(probe.prompts, chat=chat, system=None, tools=None)
        gathered.setdefault(canonical_json(form), (form, []))[1].append(probe)
    names: list[str] = []
    found = []
    for form, members in gathered.values():
        count = names.count(form.name) + 1
        names.append(form.name)
        name = form.name if count == 1 else f"{form.name}-{count}"
        found.append(Pool(name, form, tuple(members), _pooled(name, form, members)))
    return found


def _pooled(name: str, form: PromptFormat, probes: Sequence[Probe]) -> PromptSet:
    askers: dict[str, list[str]] = {}
    for probe in probes:
        for text in probe.prompts.texts:
            askers.setdefault(text, []).append(probe.name)
    return PromptSet(
        name=f"battery ({name})",
        description="The prompts of all probes of a battery; the labels are in the probes.",
        format="chat" if form.chat else "raw",
        system=form.system,
        tools=form.tools,
        prompts=tuple(
            Prompt(text=text, category=names[0], metadata={"probes": sorted(set(names))})
            for text, names in askers.items()
        ),
    )


def _files(folder: Path | None) -> list[Path]:
    if folder is None:
        return list(builtin_probes().values())
    if not folder.is_dir():
        message = f"there is no folder `{folder}`"
        raise DataError("folder-missing", message, hint=INIT, path=str(folder))
    found = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    return [path for path in found if schema_of(read_json(path)) in SCHEMAS]


def _probe(path: Path, folder: Path | None) -> Probe:
    prompts = read_prompts(path)
    own = "other" if path.parent == folder else path.parent.name
    return Probe(prompts, prompts.stratum or own, path, builtin=folder is None)


def _refuse_equal_names(probes: Sequence[Probe]) -> None:
    files: dict[str, Path] = {}
    for probe in probes:
        if probe.name in files:
            message = f"`{files[probe.name]}` and `{probe.path}` are both named `{probe.name}`"
            hint = "give one of them another `name`"
            raise DataError("probe-named-twice", message, hint=hint, name=probe.name)
        files[probe.name] = probe.path


def _depth(stratum: str) -> tuple[int, str]:
    return (STRATA.index(stratum) if stratum in STRATA else len(STRATA), stratum)
