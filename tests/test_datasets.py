"""The contract of every file under ``datasets/``: adding one adds its tests.

Prompt sets and probes are expanded as a user gets them. Probes must also be balanced, and no baseline that reads the
surface of the text may solve them: see ``SURFACE_BOUND`` and the table ``MEASURED``.
"""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from circuit.artifacts.builtin import builtin_probes, builtin_sets, datasets_folder
from circuit.artifacts.prompts import PromptSet
from circuit.artifacts.templates import TemplateSet
from circuit.methods.probing import cross_validated_probe
from circuit.methods.surface import bag_of_words, surface_features, words

PROBES = builtin_probes()
SETS = {**builtin_sets(), **{f"probes/{name}": path for name, path in PROBES.items()}}
STRATA = ("syntactic", "semantic", "decision")
FILES = sorted(path for path in datasets_folder().rglob("*") if path.is_file())

# Held-out AUROC that a baseline may reach; chance is 0.5, give or take 0.1 with 30 to 50 unpaired groups.
SURFACE_BOUND = 0.60
# Held-out AUROC of words and of surface features (chance: 0.5), each to within 0.03. Pairs of equal words are at 0.5
# whatever is done. verb_type, domain, intent and tool_type are lexical concepts: there a model may read the answer off one
# word, and only because no such word is in two groups is a count of words no help.
MEASURED = {
    "arithmetic_mode": (0.50, 0.50),
    "code_trace": (0.50, 0.50),
    "domain": (0.49, 0.55),
    "entity_presence": (0.50, 0.50),
    "factual_consistency": (0.50, 0.50),
    "imperative": (0.50, 0.50),
    "intent": (0.49, 0.40),
    "question": (0.50, 0.50),
    "refusal": (0.50, 0.49),
    "sentiment_plan": (0.43, 0.51),
    "slots": (0.50, 0.50),
    "suppression": (0.50, 0.50),
    "tool_confidence": (0.50, 0.50),
    "tool_decision": (0.55, 0.53),
    "tool_type": (0.52, 0.36),
    "verb_type": (0.50, 0.53),
}


@pytest.fixture(params=SETS.values(), ids=SETS.keys(), scope="module")
def templates(request) -> TemplateSet:
    return TemplateSet.load(request.param)


@pytest.fixture(params=SETS.values(), ids=SETS.keys(), scope="module")
def prompts(request) -> PromptSet:
    return PromptSet.load(request.param)


@pytest.fixture(params=PROBES.values(), ids=PROBES.keys(), scope="module")
def probe(request) -> PromptSet:
    return PromptSet.load(request.param)


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


def test_a_group_has_one_label_unless_its_prompts_are_pairs(prompts: PromptSet):
    labels = defaultdict(set)
    for prompt in prompts.prompts:
        if prompt.pair is None and prompt.label is not None:
            labels[prompt.group].add(prompt.label)
    assert all(len(found) == 1 for found in labels.values())
    paired = sum(prompt.pair is not None for prompt in prompts.prompts)
    assert 2 * len(prompts.pairs()) == paired


def test_every_label_has_prompts_of_several_groups(prompts: PromptSet):
    for label in prompts.labels:
        groups = {prompt.group for prompt in prompts.prompts if prompt.label == label}
        assert len(groups) >= 5, label


def test_there_is_a_probe_for_each_concept():
    assert set(MEASURED) == set(PROBES)
    assert all(path.parent.name in STRATA for path in PROBES.values())


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


def test_no_surface_baseline_solves_a_probe(probe: PromptSet):
    rows, y = probe.y()
    groups = probe.groups()[rows]
    for features, expected in zip(
        (bag_of_words, surface_features), MEASURED[probe.name], strict=True
    ):
        found = cross_validated_probe(
            features(probe.texts)[rows], y, groups, n_boot=10, n_shuffles=0
        ).auroc.value
        assert found < SURFACE_BOUND
        assert found == pytest.approx(expected, abs=0.03)


def test_code_trace_programs_print_what_their_labels_say(capsys):
    for prompt in PromptSet.load(PROBES["code_trace"]).prompts:
        exec(prompt.text, {})  # noqa: S102 — our own programs
        claimed = prompt.text.rsplit("#", 1)[1].strip()
        assert (capsys.readouterr().out.strip() == claimed) == (prompt.label == "right")


def test_the_members_of_many_pairs_hold_the_same_words():
    for name, path in PROBES.items():
        probe = PromptSet.load(path)
        pairs = probe.pairs()
        if len(pairs) and name != "verb_type":
            same = [
                sorted(words(probe.texts[p])) == sorted(words(probe.texts[n])) for p, n in pairs
            ]
            assert sum(same) >= 0.45 * len(same), name
