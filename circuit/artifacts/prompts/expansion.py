"""Draw a prompt set from templates.

A template with slots of n₁, n₂, … values has n₁·n₂·… fillings, which are drawn without
replacement. Filling j is chosen by SHA-256 of (seed, group, j) and not by a random generator. So
the draw is the same on every version of Python and numpy, a smaller set is the beginning of a
larger one, and a new template does not change the prompts of the others.

Prompts are drawn into *pools*. A pool takes turns over its categories, and within a category over
its templates, until it is full:

    with tools       one pool for each expected tool (``per_tool`` prompts), and one for the
                     requests that need none (``no_tool``)
    without tools    one pool for each label, and one for pairs and contrasts (``size`` of each;
                     by default 100, or as many as the smallest pool has)
    edge cases       one pool for each category of edge cases, with all of them, at most
                     ``per_tool`` or ``size``

No text occurs twice. Raises ``DataError`` when the templates give too few prompts.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.prompts.templates import Item, Templates, TemplateSet, Value, fill_slots
from circuit.errors import DataError

PER_TOOL, NO_TOOL, SIZE = 25, 100, 100
# Up to here a permutation of all fillings is made; beyond it, they are drawn until one is new.
_FEW = 1024

Unit = tuple[Prompt, ...]


class Sizes(NamedTuple):
    """How many prompts are requested; ``None`` is the default."""

    per_tool: int | None
    no_tool: int | None
    size: int | None
    edge_cases: bool


@dataclass(frozen=True)
class Source:
    """One template, which yields prompts of one group."""

    item: Item
    sentences: tuple[str, ...]
    labels: tuple[str | None, ...]
    key: str

    @property
    def group(self) -> str:
        """The group of its prompts: the name that the item gives, or the template's own."""
        return self.item.group or self.key


@dataclass(frozen=True)
class Pool:
    """Templates that fill one quota together. A strict pool must reach it."""

    name: str
    sources: tuple[Source, ...]
    quota: int
    strict: bool


def expand(
    template_set: TemplateSet,
    *,
    per_tool: int | None = None,
    no_tool: int | None = None,
    size: int | None = None,
    edge_cases: bool = True,
    seed: int = 42,
    folder: Path | None = None,
) -> PromptSet:
    """Draw a prompt set, to be saved in ``folder``; its ``parameters`` record how."""
    sizes = Sizes(per_tool, no_tool, size, edge_cases)
    templates = template_set.templates
    pools, parameters = _pools(template_set, sizes)
    taken: set[str] = set()
    drawn = [_draw(pool, templates, seed, taken) for pool in pools]
    if parameters.get("size", 0) is None:
        parameters["size"] = _level(pools, drawn)
    units = sorted(
        (unit for part in drawn for unit in part), key=lambda u: _hash(seed, "order", u[0].text)
    )
    return PromptSet(
        **{name: getattr(templates, name) for name in _COPIED},
        tools=template_set.tools,
        parameters={
            "set": templates.name,
            **parameters,
            "edge_cases": sizes.edge_cases,
            "seed": seed,
            **{key: ref.model_dump() for key, ref in template_set.sources(folder).items()},
        },
        prompts=tuple(prompt for unit in units for prompt in unit),
    )


_COPIED = ("name", "version", "description", "format", "labels", "system", "question", "stratum")


def _pools(template_set: TemplateSet, sizes: Sizes) -> tuple[list[Pool], dict[str, int | None]]:
    plain: dict[tuple[str, str], list[Source]] = {}
    edges: dict[str, list[Source]] = {}
    for source in _sources(template_set.templates):
        if source.item.edge:
            edges.setdefault(source.item.category, []).append(source)
        else:
            plain.setdefault(_pool_key(source.item, tools=template_set.has_tools), []).append(
                source
            )
    per_tool = PER_TOOL if sizes.per_tool is None else sizes.per_tool
    no_tool = NO_TOOL if sizes.no_tool is None else sizes.no_tool
    size = SIZE if sizes.size is None else sizes.size
    quota = {"tool": per_tool, "no tool": no_tool, "label": size, "pairs": size}
    strict = template_set.has_tools or sizes.size is not None
    pools = [
        Pool(f"{kind} `{name}`" if name else kind, tuple(each), quota[kind], strict)
        for (kind, name), each in plain.items()
    ]
    if sizes.edge_cases:
        at_most = per_tool if template_set.has_tools else size
        pools += [Pool(name, tuple(each), at_most, strict=False) for name, each in edges.items()]
    if template_set.has_tools:
        return pools, {"per_tool": per_tool, "no_tool": no_tool}
    return pools, {"size": sizes.size}


def _pool_key(item: Item, *, tools: bool) -> tuple[str, str]:
    if not item.templates:
        return "pairs", ""
    if not tools:
        return "label", str(item.label)
    return ("tool", item.expected_tool) if item.expected_tool else ("no tool", "")


def _sources(templates: Templates) -> Iterator[Source]:
    """Number the templates of each category, across its items."""
    numbers: dict[str, Iterator[int]] = {}
    for item in templates.items:
        number = numbers.setdefault(item.category, count())
        for index, sentences in enumerate(item.sentences()):
            labels = _labels(item, index, templates.labels)
            yield Source(item, sentences, labels, f"{item.category}/{next(number)}")


def _labels(item: Item, index: int, labels: Sequence[str]) -> tuple[str | None, ...]:
    """Return the label of each sentence of the item's template number ``index``."""
    if item.contrasts:
        return tuple(item.contrasts[index])
    return (labels[1], labels[0]) if item.templates_pairs else (item.label,)


def _draw(pool: Pool, templates: Templates, seed: int, taken: set[str]) -> list[Unit]:
    """Take turns over the categories of a pool until its quota is reached."""
    categories: dict[str, list[Iterator[Unit]]] = {}
    for source in pool.sources:
        units = _units(source, templates, seed, taken)
        categories.setdefault(source.item.category, []).append(units)
    turns = _in_turn([_in_turn(sources) for sources in categories.values()])
    drawn = list(islice(turns, pool.quota))
    if pool.strict and len(drawn) < pool.quota:
        raise DataError(
            "too-few-fillings",
            f"the templates of `{templates.name}` give only {len(drawn)} prompts for {pool.name}",
            hint=f"ask for at most {len(drawn)}, or add templates or slot values",
            templates=templates.name,
            pool=pool.name,
            count=len(drawn),
        )
    return drawn


def _in_turn(iterators: Sequence[Iterator[Unit]]) -> Iterator[Unit]:
    waiting = list(iterators)
    while waiting:
        for iterator in list(waiting):
            unit = next(iterator, None)
            if unit is None:
                waiting.remove(iterator)
            else:
                yield unit


def _units(source: Source, templates: Templates, seed: int, taken: set[str]) -> Iterator[Unit]:
    """Yield the fillings of one template whose texts are new."""
    slots = templates.values(source.item, source.sentences)
    number = count()
    for choice in fillings([len(values) for values in slots.values()], f"{seed}/{source.key}"):
        values = {name: slots[name][index] for name, index in zip(slots, choice, strict=True)}
        texts = [fill_slots(sentence, values) for sentence in source.sentences]
        if len(set(texts)) == len(texts) and taken.isdisjoint(texts):
            taken.update(texts)
            yield _prompts(source, texts, values, next(number))


def fillings(sizes: Sequence[int], key: str) -> Iterator[tuple[int, ...]]:
    """Yield every combination of indices below ``sizes`` once, in an order that ``key`` decides."""
    total = math.prod(sizes)
    if total <= _FEW:
        yield from (_digits(i, sizes) for i in sorted(range(total), key=lambda i: _hash(key, i)))
        return
    seen: set[int] = set()
    for attempt in count():
        index = int.from_bytes(_hash(key, attempt)) % total
        if index not in seen:
            seen.add(index)
            yield _digits(index, sizes)
        if len(seen) == total:
            return


def _prompts(source: Source, texts: Sequence[str], values: dict[str, Value], number: int) -> Unit:
    item = source.item
    pair = f"{source.key}/{number}" if len(texts) > 1 else None
    return tuple(
        Prompt(
            text=text,
            label=label,
            category=item.category,
            expected_tool=item.expected_tool,
            expected=_expected(item, values),
            group=source.group,
            pair=pair,
            metadata={"slots": values} | ({"edge": True} if item.edge else {}),
        )
        for text, label in zip(texts, source.labels, strict=True)
    )


def _expected(item: Item, values: dict[str, Value]) -> str | None:
    if not isinstance(item.expected, dict):
        return None if item.expected is None else fill_slots(item.expected, values)
    (operation, names), *_ = item.expected.items()
    operands = [values[name] for name in names]
    if not all(isinstance(operand, int) for operand in operands):
        raise DataError(
            "operands-not-integers",
            f"`expected` of `{item.category}` needs integers, not {operands}",
            hint='give its slots a {"range": [first, last]}',
            category=item.category,
        )
    a, b = (int(operand) for operand in operands)
    return str({"add": a + b, "sub": a - b, "mul": a * b}[operation])


def _level(pools: Sequence[Pool], drawn: list[list[Unit]]) -> int:
    """Cut every pool that is not an edge case down to the smallest, and return its size."""
    plain = [d for p, d in zip(pools, drawn, strict=True) if not p.sources[0].item.edge]
    level = min(map(len, plain or drawn))
    for part in drawn:
        del part[level:]
    return level


def _digits(index: int, sizes: Sequence[int]) -> tuple[int, ...]:
    digits = []
    for size in sizes:
        index, digit = divmod(index, size)
        digits.append(digit)
    return tuple(digits)


def _hash(*parts: object) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
