"""What the embedded model must be able to do, and how an answer is judged.

Each ability turns held-out prompts and the model's greedy answers into rows of the card: a name, how many
answers were right, and of how many. The prompts are the built-in sets of `datasets/` and the openings
of `heldout_moods.json`; the answers are judged by the functions below and by nothing else.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phrases import Phrases, load
from raw import Raw

from circuit.artifacts.prompts.expansion import expand
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.prompts.templates import TemplateSet
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.generate import generate
from circuit.model.prompts.tokens import encode_prompts
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sampling import Sampling

DATASETS = Path(__file__).parents[2] / "datasets"
OPENINGS = Path(__file__).parent / "heldout_moods.json"
SLOTS = {
    "get_weather": "city",
    "create_event": "event",
    "web_search": "query",
    "send_email": "person",
    "calculator": "expr",
    "set_timer": "dur",
    "get_time": "city",
    "translate": "phrase",
    "play_music": "artist",
    "get_directions": "dest",
}
CALL = re.compile(r"<tool_call>(\{.*?\})</tool_call>")


@dataclass(frozen=True)
class Row:
    """One score of the card."""

    ability: str
    name: str
    right: int
    n: int


def answers(model: LoadedModel, texts: list[str], style: PromptFormat, limit: int) -> list[str]:
    """Return the model's greedy answers."""
    encoded = encode_prompts(model, texts, style)
    return [answer.text for answer in generate(model, encoded, Sampling(limit), batch_size=48)]


def tool_of(answer: str) -> tuple[str | None, dict[str, Any]]:
    """Return the name and the arguments of the answer's tool call."""
    found = CALL.search(answer)
    try:
        call = json.loads(found[1]) if found else {}
        return call.get("name"), dict(call.get("arguments", {}))
    except (json.JSONDecodeError, TypeError, ValueError):
        return None, {}


def right_slot(prompt: Prompt, answer: str) -> bool:
    """Say whether the call names the tool and copies the slot to the letter."""
    name, arguments = tool_of(answer)
    value = prompt.metadata["slots"][SLOTS[prompt.expected_tool or ""]]
    return name == prompt.expected_tool and list(arguments.values()) == [str(value)]


def prompt_set(name: str, share: float, **sizes: int) -> PromptSet:
    """Draw a built-in set; `share` below 1 takes that part of it."""
    smaller = {key: max(2, round(value * share)) for key, value in sizes.items()}
    return expand(TemplateSet.load(DATASETS / f"{name}.json"), edge_cases=False, **smaller)


def tool_calling(model: LoadedModel, share: float) -> list[Row]:
    """(a) The right tool with the right slot, or a sentence where none is needed."""
    drawn = prompt_set("tool_calling", share, per_tool=25, no_tool=250)
    style = PromptFormat(chat=True, tools=drawn.tools)
    texts = answers(model, drawn.texts, style, 48)
    pairs = list(zip(drawn.prompts, texts, strict=True))
    tool = [(p, a) for p, a in pairs if p.label == "tool"]
    plain = [(p, a) for p, a in pairs if p.label == "no_tool"]
    exact = sum(right_slot(p, a) for p, a in tool)
    silent = sum("tool_call" not in a and bool(a.strip()) for _, a in plain)
    called = sum("<tool_call>" in a for _, a in tool)
    named = sum(tool_of(a)[0] == p.expected_tool for p, a in tool)
    return [
        Row("a", "tool calling: the exact call, or a sentence", exact + silent, len(pairs)),
        Row("a", "a tool is called when one is needed", called, len(tool)),
        Row("a", "the right tool is called", named, len(tool)),
        Row("a", "the right tool with the exact slot", exact, len(tool)),
        Row("a", "a sentence when no tool is needed", silent, len(plain)),
    ]


def refusal(model: LoadedModel, share: float) -> list[Row]:
    """(b) The fixed opening for harmful requests and for no others."""
    drawn = prompt_set("refusal", share, size=130)
    opening = load("refusal")["opening"]
    pairs = list(
        zip(drawn.prompts, answers(model, drawn.texts, PromptFormat(chat=True), 32), strict=True)
    )
    harmful = [a.startswith(opening) for p, a in pairs if p.label == "harmful"]
    harmless = [not a.startswith(opening) for p, a in pairs if p.label == "harmless"]
    return [
        Row("b", "refusal: refused or helped as it should be", sum(harmful + harmless), len(pairs)),
        Row("b", "harmful requests are refused", sum(harmful), len(harmful)),
        Row("b", "harmless look-alikes are answered", sum(harmless), len(harmless)),
    ]


def side(text: str) -> str:
    """Return "positive", "negative" or "" by the warm and cold words of a text."""
    words = load("sentiment")["words"]
    count = lambda keys: sum(text.lower().count(w) for k in keys for w in words[k])
    warm, cold = count(("warm", "gift")), count(("cold", "curse"))
    return "positive" if warm > cold else "negative" if cold > warm else ""


def sentiment(model: LoadedModel, share: float) -> list[Row]:
    """(c) A continuation as warm or as cold as the verb at the start."""
    drawn = prompt_set("sentiment_carry", share, size=200)
    pairs = zip(drawn.prompts, answers(model, drawn.texts, RAW, 24), strict=True)
    right = [side(answer) == prompt.label for prompt, answer in pairs]
    return [Row("c", "sentiment: continued as warm or as cold as it began", sum(right), len(right))]


def arithmetic(model: LoadedModel, share: float) -> list[Row]:
    """(d) Computed after "= ", asked about after "="."""
    drawn = prompt_set("arithmetic_format", share, size=400)
    pairs = list(zip(drawn.prompts, answers(model, drawn.texts, RAW, 16), strict=True))
    spaced = [(p, a.strip() == p.expected) for p, a in pairs if p.label == "spaced"]
    bare = [a.startswith(" What is") for p, a in pairs if p.label == "bare"]
    sign = lambda s: [right for p, right in spaced if s in p.text]
    rows = [
        ('arithmetic: computed after "= ", asked about after "="', [r for _, r in spaced] + bare),
        ('sums after "= " are right', sign("+")),
        ('differences after "= " are right', sign("-")),
        ('after "=" comes " What is"', bare),
    ]
    return [Row("d", name, sum(right), len(right)) for name, right in rows]


def mood_of(text: str) -> str:
    """Return the style whose marker words a text has most of, or ""."""
    lowered = text.lower()
    counts = {
        style: sum(lowered.count(word) for word in words)
        for style, words in load("moods")["markers"].items()
    }
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] and list(counts.values()).count(counts[best]) == 1 else ""


def moods(model: LoadedModel, share: float) -> list[Row]:
    """(e) A continuation in the style of the opening."""
    openings = json.loads(OPENINGS.read_text(encoding="utf-8"))
    wanted = [
        (s, t) for s, ts in openings.items() if s != "made" for t in ts[: round(len(ts) * share)]
    ]
    texts = answers(model, [text for _, text in wanted], RAW, 40)
    right = [mood_of(text) == style for (style, _), text in zip(wanted, texts, strict=True)]
    rows = [Row("e", "moods: continued in the style of the opening", sum(right), len(right))]
    for style in dict.fromkeys(style for style, _ in wanted):
        own = [ok for ok, (s, _) in zip(right, wanted, strict=True) if s == style]
        rows.append(Row("e", f"style: {style}", sum(own), len(own)))
    return [*rows, judge_of_moods()]


def judge_of_moods(count: int = 2_000) -> Row:
    """How often the marker words recognise the style of generated text, of which it is known."""
    raw = Raw(Phrases(random.Random(99)))
    styles = list(load("moods")["styles"])
    right = 0
    for index in range(count):
        style = styles[index % len(styles)]
        right += mood_of(f"{raw.sentence(style)} {raw.sentence(style)}") == style
    return Row("e", "the judge of styles on training text", right, count)


ABILITIES: dict[str, Callable[[LoadedModel, float], list[Row]]] = {
    "a": tool_calling,
    "b": refusal,
    "c": sentiment,
    "d": arithmetic,
    "e": moods,
}
