"""The embedded model: its files, its tokenizer, what it was not trained on, and what it can do."""

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TINY = ROOT / "circuit" / "assets" / "tiny"
PIPELINE = ROOT / "pipelines" / "tiny"
SETS = ("tool_calling", "refusal", "sentiment_carry", "arithmetic_format")


@pytest.fixture(scope="module", autouse=True)
def pipeline() -> Iterator[None]:
    """Let the tests import the training pipeline's modules, which run as scripts."""
    sys.path.insert(0, str(PIPELINE))
    yield
    sys.path.remove(str(PIPELINE))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from mlx_lm.tokenizer_utils import load

    return load(TINY)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def templates(name: str) -> list[str]:
    texts = []
    for item in read(ROOT / "datasets" / f"{name}.json")["items"]:
        texts += item.get("templates", [])
        texts += [text for pair in item.get("templates_pairs", []) for text in pair.values()]
    return texts


def test_the_checkpoint_is_small() -> None:
    assert (TINY / "model.safetensors").stat().st_size <= 8_000_000
    assert read(TINY / "config.json")["vocab_size"] <= 2048


def test_mlx_lm_opens_it() -> None:
    from mlx_lm import generate, load

    import circuit.model  # noqa: F401

    model, tokenizer = load(str(TINY))
    assert len(model.layers) == 6
    assert isinstance(generate(model, tokenizer, "The meeting went", max_tokens=3), str)


def test_digits_and_the_space_before_them_are_tokens(tokenizer: Any) -> None:
    bare, spaced = tokenizer.encode("100 - 37 ="), tokenizer.encode("100 - 37 = ")
    assert spaced[:-1] == bare
    assert [tokenizer.decode([i]) for i in bare[1:]] == ["1", "0", "0", " -", " ", "3", "7", " ="]


def test_an_unseen_word_has_the_same_pieces_after_a_space(tokenizer: Any) -> None:
    space = tokenizer.encode("in Q", add_special_tokens=False)[1]
    for word in ("Zorvikan", "Qobblesh", "xylnar"):
        bare = tokenizer.encode(word, add_special_tokens=False)
        assert tokenizer.encode(f"in {word}", add_special_tokens=False)[1:] == [space, *bare]


def test_raw_text_begins_with_one_bos(tokenizer: Any) -> None:
    assert tokenizer.encode("hello").count(tokenizer.bos_token_id) == 1


def test_the_chat_template_is_what_the_model_was_trained_on(tokenizer: Any) -> None:
    from markup import ASSISTANT, END, USER, header

    tools = read(ROOT / "datasets" / "tools.json")
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    text = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, tokenize=False
    )
    listed = [
        (t["function"]["name"], next(iter(t["function"]["parameters"]["properties"])))
        for t in tools
    ]
    assert text == header("Be kind.", listed) + f"{USER}Hello{END}{ASSISTANT}"


def test_a_tool_call_decodes_to_itself(tokenizer: Any) -> None:
    from markup import tool_call

    call = tool_call("get_weather", "location", "Oslo")
    ids = tokenizer.encode(call, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == call
    assert json.loads(re.fullmatch("<tool_call>(.*)</tool_call>", call)[1])["name"] == "get_weather"


def grammar_patterns() -> list[re.Pattern[str]]:
    """Return what the grammar's user requests and raw openings look like."""
    from chat import GREETINGS, SUFFIXES, TAILS, WRAPPERS
    from phrases import load, pattern

    texts = [t for e in load("requests").values() for f in forms(e) for t in e[f]]
    texts += [t for e in load("plain").values() for f in forms(e) for t in e[f]]
    refusal = load("refusal")
    for pair in refusal["harmful"] + refusal["harmless"]:
        texts += [f.replace("{vp}", pair[0]) for f in refusal["frames"]]
        texts += [f.replace("{vp}", pair[1]) for f in refusal["frames_gerund"]]
    sentiment = load("sentiment")
    verbs = [verb for verbs in sentiment["verbs"].values() for verb in verbs]
    texts += [f"I [{'|'.join(verbs)}] {{x}}{link} {{x}}" for link in sentiment["links"]]
    before = (
        "|".join(re.escape(f"{w} ") for w in WRAPPERS) + "|" + "|".join(f"{g}, " for g in GREETINGS)
    )
    after = "|".join(re.escape(suffix) for suffix in SUFFIXES)
    tails = "|".join(f" {tail}" for tail in TAILS)
    value = "(?:(?:the|a|an|my) )?Qqqs?"
    return [
        re.compile(
            f"(?:{before})?{pattern(text, value)}(?:{tails})?(?:{after})?[.?!]?", re.IGNORECASE
        )
        for text in texts
    ]


def forms(entry: dict[str, Any]) -> list[str]:
    return [key for key in ("questions", "imperatives", "statements") if key in entry]


@pytest.mark.parametrize("name", ["tool_calling", "refusal", "sentiment_carry"])
def test_no_template_comes_out_of_the_training_grammar(name: str) -> None:
    patterns = grammar_patterns()
    for template in templates(name):
        text = re.sub(r"\{\w+\}", "Qqq", template)
        assert not [p.pattern for p in patterns if p.fullmatch(text)], template


def test_no_pair_of_operands_was_trained_on() -> None:
    from raw import held_out

    data = read(ROOT / "datasets" / "arithmetic_format.json")
    for item in data["items"]:
        for a in item["slots"]["a"]:
            assert all(held_out(a, b) for b in data["slots"]["b"])


def test_no_slot_value_was_trained_on() -> None:
    from phrases import HELD_MULTIPLE, load

    lexicon = load("lexicon")
    known = {value.lower() for values in lexicon.values() for value in values}
    words = {word for value in known for word in re.findall(r"[a-z']+", value)}
    for name in SETS[:3]:
        for slot, values in read(ROOT / "datasets" / f"{name}.json")["slots"].items():
            for value in values:
                assert value.lower() not in known, (name, slot, value)
                numbers = [int(n) for n in re.findall(r"\d+", value)]
                fresh = set(re.findall(r"[a-z']+", value.lower())) - words
                assert fresh or any(n % HELD_MULTIPLE == 0 for n in numbers) or slot == "phrase", (
                    name,
                    slot,
                    value,
                )


def test_held_out_operands_never_occur_in_the_training_text() -> None:
    from phrases import Phrases
    from raw import Raw, held_out

    raw = Raw(Phrases(random.Random(3)))
    assert not any(held_out(a, b) for a, _, b in (raw.operands() for _ in range(5_000)))


CARD_ROW = re.compile(
    r"^\| ([a-e]) \| \*\*(.+)\*\* \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \| (\d+) \| (\d+) \|$",
    re.MULTILINE,
)


def card() -> dict[str, tuple[float, float, float, int]]:
    """Return score, interval and n of each ability, as the card states them."""
    found = CARD_ROW.findall((TINY / "README.md").read_text(encoding="utf-8"))
    return {
        key: (float(p), float(low), float(high), int(n)) for key, _, p, low, high, n, _ in found
    }


def test_the_card_states_a_score_for_every_ability() -> None:
    scores = card()
    assert list(scores) == ["a", "b", "c", "d", "e"]
    for share, low, high, n in scores.values():
        assert 0 <= low <= share <= high <= 100
        assert n >= 50


@pytest.mark.slow
@pytest.mark.parametrize("ability", ["a", "b", "c", "d", "e"])
def test_a_new_measurement_agrees_with_the_card(ability: str) -> None:
    from evaluate import measure

    from circuit.methods.uncertainty.scores import wilson

    row = measure(TINY, share=0.3, only=ability)[0]
    assert 100 * wilson(row.right, row.n)[1] >= card()[ability][1]
