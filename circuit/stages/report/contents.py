"""The order of a report's page.

First the main figure and one table of all findings, then warnings, the meaning of the words, the
figures and tables of each artifact, what was controlled, and where the numbers come from.
"""

import json
from collections import Counter
from collections.abc import Sequence

from circuit.artifacts.manifest.manifest import digest
from circuit.present.document import Controls, Facts, Figure, Finding, Text
from circuit.present.findings import STRENGTHS, findings
from circuit.present.html import controls, facts, figure, fragments, page_of
from circuit.present.markup import Html, element
from circuit.stages.report.sources import (
    Source,
    each_picture_once,
    findings_of,
    main_figure,
)

LONGEST = 300  # characters of a parameter that are shown
WORDS = (
    (
        "readable",
        "a direction or probe scores held-out prompts above chance: interval above it, permutation "
        "p over all layers at most 0.05, 10 groups or more, 5 of each class",
    ),
    (
        "decodable",
        "readable, and above every baseline that was run (of the text, the embedding and random "
        "weights; the finding names them)",
    ),
    (
        "p",
        "a permutation test of the AUROC of a ridge probe on the same folds and rows, not of the "
        "AUROC that is printed next to it",
    ),
    ("selective", "decodable, and above a control task of random labels, too"),
    (
        "tokens, surface",
        "readable, but not shown to be more than the token's embedding, or the text itself, gives "
        "away",
    ),
    (
        "unresolved",
        "readable, but not shown to be above a baseline that is itself not above chance",
    ),
    (
        "layer",
        "where it emerges: the first decodable layer above every baseline, and the next two as "
        "well; above: the paired difference has a lower bound, for all layers at once, over 0",
    ),
    (
        "used",
        "an intervention along the direction changes behaviour more than random directions of the "
        "same norm",
    ),
    (
        "not shown",
        "the data are compatible with nothing being there; that is not evidence that there is "
        "nothing",
    ),
)
ABOUT_SCORES = (
    "Every AUROC is held out by group (chance 0.5), with a 95 % interval over groups. That "
    "something can be read does not say that the model uses it; only an intervention can."
)


def report_page(sources: Sequence[Source], warnings: Sequence[str]) -> bytes:
    """Return the whole page."""
    sources = each_picture_once(sources)
    models = list(dict.fromkeys(source.model for source in sources if source.model))
    title = f"Report on {', '.join(models) or 'an unnamed model'}"
    main = main_figure(sources)
    body = [element("h1", title), *_summary(sources)]
    body += [] if main is None else [figure(main, caption_folded=True)]
    body += [*_found(sources)]
    body += [element("p", text, class_="warning") for text in warnings]
    body += [_meanings()]
    for source in sources:
        body += _shown(source, main)
    return page_of(title, [*body, *_controlled(sources), *_provenance(sources)])


def _summary(sources: Sequence[Source]) -> list[Html]:
    """Count the verdicts, strongest first."""
    found = [each for _, of_one in findings_of(sources) for each in of_one]
    ordered = sorted(found, key=lambda each: -each.strength)
    counts = Counter(each.verdict for each in ordered)
    strength = {each.verdict: STRENGTHS[each.strength] for each in reversed(ordered)}
    words = [
        element("span", element("span", f"{n} {word}", class_="word"), class_=strength[word])
        for word, n in counts.items()
    ]
    return [element("p", *(part for word in words for part in (word, " ")))] if words else []


def _found(sources: Sequence[Source]) -> list[Html]:
    found = findings_of(sources)
    if not any(each for _, each in found):
        return []
    heading = element("h2", "What was found, and how sure it is", class_="first")
    return [heading, findings(found), element("p", ABOUT_SCORES, class_="small")]


def _meanings() -> Html:
    rows = [element("li", element("strong", word), f": {text}") for word, text in WORDS]
    summary = element("summary", "What the words mean")
    return element("details", summary, element("ul", *rows))


def _shown(source: Source, main: Figure | None) -> list[Html]:
    """Return the figures and tables of an artifact."""
    parts = source.without([] if main is None else [main], Finding, Controls)
    if all(isinstance(part, Text) for part in parts):
        return []
    return [element("h2", source.title), *fragments(parts, level=3)]


def _controlled(sources: Sequence[Source]) -> list[Html]:
    shown = [(source, source.document.every(Controls)) for source in sources]
    parts = [
        part
        for source, found in shown
        for each in found
        for part in (element("h3", source.title), controls(each))
    ]
    heading = [element("h2", "What was controlled, and what was not")] if parts else []
    return [*heading, *parts]


def _provenance(sources: Sequence[Source]) -> list[Html]:
    names = " ".join(source.path.name for source in sources)
    check = element("code", f"circuit verify {names}")
    return [
        element("h2", "Where the numbers come from"),
        element("p", "To check that every file is still what it says: ", check, class_="small"),
        *(
            element("details", element("summary", source.path.name), facts(_facts(source)))
            for source in sources
        ),
    ]


def _facts(source: Source) -> Facts:
    """Return schema, digests, model, parameters and run of an artifact."""
    manifest = source.manifest
    known = [("schema", manifest.schema_name), ("sha256", digest(source.path))]
    known += [(f"read: {ref.path}", ref.sha256) for ref in manifest.inputs]
    known += [(f"written: {ref.path}", ref.sha256) for ref in manifest.outputs]
    for name, identity in (("model", manifest.model), ("tokenizer", manifest.tokenizer)):
        fields = {} if identity is None else vars(identity)
        known += [(f"{name}: {key}", _short(value)) for key, value in fields.items() if value]
    known += [(key, _short(value)) for key, value in manifest.parameters.items()]
    run = manifest.run
    made = f"{run.created}, circuit {run.version}"
    return Facts([*known, ("command", run.command), ("made", made)])


def _short(value: object) -> str:
    """Return a parameter as JSON; a long one (prompts, tools) by its beginning and its length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
