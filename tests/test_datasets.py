"""The contract of every file under ``datasets/``: adding one adds its tests.

Prompt sets, probes and concepts are expanded as a user gets them. Each has a verdict of ``dataset check`` that is about
what is in the file now; that of a probe says that no baseline that reads the surface of the text solves it.
"""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from circuit.artifacts.prompts.builtin import (
    builtin_concepts,
    builtin_probes,
    builtin_sets,
    datasets_folder,
)
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.artifacts.prompts.verdict import current_verdict
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.text.surface import TEXT_BASELINES, words
from circuit.stages.dataset.check import findings
from circuit.stages.dataset.verdict import BOUND, CEILING

PROBES = builtin_probes()
CONCEPTS = builtin_concepts()
SETS = {
    **builtin_sets(),
    **{f"probes/{name}": path for name, path in PROBES.items()},
    **{f"concepts/{name}": path for name, path in CONCEPTS.items()},
}
STRATA = {
    "syntactic": {"imperative", "question", "verb_type"},
    "semantic": {
        *("code_trace", "domain", "entity_presence", "factual_consistency", "intent", "slots"),
    },
    "decision": {
        *("arithmetic_mode", "refusal", "sentiment_plan", "suppression"),
        *("tool_confidence", "tool_decision", "tool_type"),
    },
}
KINDS = {
    "emotion": {"angry", "calm", "excited", "fearful", "happy", "sad"},
    "style": {"casual", "formal", "poetic", "technical"},
    "personality": {"enthusiastic", "optimistic", "pessimistic", "pirate", "shakespeare"},
    "brevity": {"brief", "verbose"},
}
FILES = sorted(path for path in datasets_folder().rglob("*") if path.is_file())


@pytest.fixture(params=SETS.values(), ids=SETS.keys(), scope="module")
def templates(request) -> TemplateSet:
    return TemplateSet.load(request.param)


@pytest.fixture(params=SETS.values(), ids=SETS.keys(), scope="module")
def prompts(request) -> PromptSet:
    return read_prompts(request.param)


@pytest.fixture(params=CONCEPTS.values(), ids=CONCEPTS.keys(), scope="module")
def concept(request) -> PromptSet:
    return read_prompts(request.param)


@pytest.fixture(params=PROBES.values(), ids=PROBES.keys(), scope="module")
def probe(request) -> PromptSet:
    return read_prompts(request.param)


def paths(names: list[Path]) -> list:
    return [pytest.param(path, id=str(path.relative_to(datasets_folder()))) for path in names]


@pytest.mark.parametrize("path", paths(FILES))
def test_a_file_is_json_of_a_known_kind(path: Path):
    assert path.suffix == ".json"
    document = json.loads(path.read_text())
    if isinstance(document, list):
        assert all(tool["type"] == "function" and tool["function"]["name"] for tool in document)
    else:
        assert document["schema"] == "circuit.templates/1"


def test_a_file_is_named_after_its_set_and_says_how_it_was_made(templates: TemplateSet):
    assert templates.path.stem == templates.templates.name
    assert len(templates.templates.made) > 40
    assert templates.templates.description


def test_no_prompt_occurs_twice(prompts: PromptSet):
    seen = Counter(" ".join(words(text)) + text[-1:] for text in prompts.texts)
    assert [text for text, count in seen.items() if count > 1] == []


def test_every_slot_is_filled_and_no_blank_is_doubled(prompts: PromptSet):
    for text in prompts.texts:
        assert not re.search(r"\{\w+\}|<[12]>|  (?!#)", text), text
        assert text == text.lstrip()


def test_no_set_has_a_problem(prompts: PromptSet):
    assert [found.message for found in findings(prompts) if found.level == "problem"] == []


def test_every_label_has_prompts_of_several_groups(prompts: PromptSet):
    for label in prompts.labels:
        groups = {prompt.group for prompt in prompts.prompts if prompt.label == label}
        assert len(groups) >= 5, label


def test_the_battery_has_the_probes_of_three_strata():
    found = {stratum: set() for stratum in STRATA}
    for name, path in PROBES.items():
        found[path.parent.name].add(name)
    assert found == STRATA


def test_a_probe_is_large_enough_and_asks_a_question(probe: PromptSet):
    assert len(probe.prompts) >= 120
    assert len(set(probe.groups())) >= 20
    assert probe.question
    assert probe.question.endswith("?")
    assert probe.stratum == PROBES[probe.name].parent.name


def test_a_probe_has_balanced_classes(probe: PromptSet):
    by_label = [
        [p.text for p in probe.prompts if p.label == label and p.text] for label in probe.labels
    ]
    assert len({len(texts) for texts in by_label}) == 1
    for measure in (len, lambda t: len(t.split()), lambda t: sum(map(str.isupper, t))):
        means = [sum(map(measure, texts)) / len(texts) for texts in by_label]
        assert max(means) - min(means) <= max(0.1 * max(means), 0.35)


def test_a_probe_begins_and_ends_alike_in_every_class(probe: PromptSet):
    rows, y = probe.y()
    for part in (lambda t: words(t)[0], lambda t: t[-1]):
        shares = []
        for label in range(len(probe.labels)):
            found = Counter(
                part(probe.texts[i]) for i, c in zip(rows, y, strict=True) if c == label
            )
            shares.append({key: count / sum(found.values()) for key, count in found.items()})
        most = max(abs(a.get(k, 0) - b.get(k, 0)) for a in shares for b in shares for k in {*a, *b})
        assert most <= 0.301, f"{most:.0%} of the prompts"


def test_a_file_has_a_current_verdict(templates: TemplateSet):
    verdict = current_verdict(templates.path)
    assert verdict, f"run `circuit dataset check --write {templates.path}`"
    assert verdict.n == len(read_prompts(templates.path).y()[0])
    assert verdict.bound == BOUND
    assert verdict.clean == (not verdict.reasons)


def test_every_probe_is_clean_and_its_verdict_is_what_is_measured(probe: PromptSet):
    verdict = current_verdict(PROBES[probe.name])
    assert verdict
    assert verdict.clean
    rows, y = probe.y()
    texts = [probe.texts[row] for row in rows]
    for name, features in TEXT_BASELINES.items():
        found = cross_validated_probe(
            features(texts), y, probe.groups()[rows], n_boot=10, n_shuffles=0
        ).auroc.value
        value, low, high = verdict.baselines[name]
        assert found == pytest.approx(value, abs=0.03)
        assert 1 - BOUND <= found <= BOUND
        assert low <= value <= high < CEILING


def test_code_trace_programs_print_what_their_labels_say(capsys):
    for prompt in read_prompts(PROBES["code_trace"]).prompts:
        exec(prompt.text, {})
        claimed = prompt.text.rsplit("#", 1)[1].strip()
        assert (capsys.readouterr().out.strip() == claimed) == (prompt.label == "right")


def members(prompts: PromptSet) -> list[list[str]]:
    """The texts of each pair or contrast."""
    found = defaultdict(list)
    for prompt in prompts.prompts:
        if prompt.pair is not None:
            found[prompt.pair].append(prompt.text)
    return list(found.values())


def changed(one: str, other: str) -> int:
    """How many words lie between the common beginning and the common end of two texts."""
    a, b = words(one), words(other)
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return max(len(a), len(b))


def test_minimal_pairs_are_minimal(probe: PromptSet):
    if "not minimal" in TemplateSet.load(PROBES[probe.name]).templates.made:
        return
    for first, *others in members(probe):
        for other in others:
            reordered = sorted(words(first)) == sorted(words(other))
            assert reordered or changed(first, other) <= 5, (first, other)


def test_tools_are_told_apart_by_one_noun():
    sentences = defaultdict(Counter)
    for prompt in read_prompts(PROBES["tool_type"]).prompts:
        noun = prompt.group.split("/")[1]
        sentences[prompt.label][prompt.text.replace(f" {noun} ", " _ ")] += 1
    assert len({frozenset(found.items()) for found in sentences.values()}) == 1


def test_every_other_probe_has_pairs():
    assert [name for name, path in PROBES.items() if not members(read_prompts(path))] == [
        "tool_type"
    ]


def test_facts_are_crossed():
    facts = read_prompts(PROBES["factual_consistency"])
    counts = defaultdict(lambda: defaultdict(Counter))
    for prompt in facts.prompts:
        counts[prompt.group][prompt.label].update(words(prompt.text))
    assert all(found["true"] == found["false"] for found in counts.values())


def test_there_are_seventeen_concepts_of_four_kinds():
    found = defaultdict(set)
    for path in CONCEPTS.values():
        found[read_prompts(path).stratum].add(path.stem)
    assert found == KINDS
    assert len(CONCEPTS) == 17


def of(concept: PromptSet, category: str) -> list[tuple[str, str]]:
    """The texts of the pairs (with the concept, neutral) in one category."""
    rows = [(concept.prompts[p], concept.prompts[n]) for p, n in concept.pairs()]
    return [(p.text, n.text) for p, n in rows if p.category == category]


def test_a_concept_has_contrasts_with_neutral_texts(concept: PromptSet):
    assert concept.labels == ("neutral", concept.name)
    texts, neutral = zip(*of(concept, "contrast"), strict=True)
    assert len(set(texts)) >= 40
    assert all(text.endswith(".") for text in texts + neutral)
    if concept.stratum != "brevity":
        lengths = [sum(map(len, each)) / len(each) for each in (texts, neutral)]
        assert max(lengths) < 1.25 * min(lengths)


def test_the_neutral_texts_are_the_same_in_every_concept():
    neutral = {
        tuple(sorted(n for _, n in of(read_prompts(p), "contrast"))) for p in CONCEPTS.values()
    }
    assert len(neutral) == 1


def test_a_concept_has_minimal_pairs_that_end_alike(concept: PromptSet):
    small = of(concept, "minimal")
    assert len(small) >= 20
    for positive, negative in small:
        assert 1 <= changed(positive, negative) <= 3
        assert words(positive)[-5:] == words(negative)[-5:]


@pytest.mark.slow
def test_the_embedded_model_answers_what_it_was_trained_for():
    """The other probes ask for what it does not know; here a wrong battery would show."""
    from circuit.stages.options import ModelOptions
    from circuit.stages.probes.request import BatteryOptions, CategoryOptions, RunRequest
    from circuit.stages.run import run

    request = RunRequest(
        model=ModelOptions(model="tiny"),
        battery=BatteryOptions(category=CategoryOptions(category=("decision",))),
        layers="3,5",
        n_boot=200,
        n_shuffles=4,
    )
    best = {
        name: max(layer.auroc[0] for layer in probe.layers.values())
        for name, probe in run(request).probes.items()
    }
    for name in ("refusal", "sentiment_plan", "tool_decision", "tool_type", "arithmetic_mode"):
        assert best[name] > 0.7, name
