"""The template language of the training grammar, and the words that fill it.

    [a|b|]   one of the alternatives (they may nest and be empty)
    {slot}   a value of that slot

`Phrases.fill` draws one text from a template. `pattern` is its inverse: a regular expression that
matches every text the template can make, with any text in its slots. The tests use it to show that
no held-out prompt can come out of the training grammar.

Half of all places, people, titles and so on are made-up words: syllables ("Zorvik") or splinters of other
words ("Therning"), so that a model has to copy what it reads: a value that it never saw is then
nothing new. A value of `datasets/` never comes out, not even by chance.
"""

import json
import random
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "grammar"
DATASETS = Path(__file__).parents[2] / "datasets"
INNERMOST = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
SOUNDS = (
    "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl sh sk sl st th tr",
    "a e i o u a e i o ai ea ee ie oa oo ou",
)
ONSETS, VOWELS = (sounds.split() for sounds in SOUNDS)
CODAS = ["", "", "", "", "n", "r", "l", "s", "t", "k", "m", "nd", "rt", "sh", "x", "ck", "ng", "lm"]
ARTISTS = (
    *("{person_name}", "{person_name}", "The {artist_word} {artist_noun}", "{style}"),
    *("{artist_word} {artist_noun}", "The {invented_name}", "{invented_name}"),
)
MADE_UP = 0.5
HELD_MULTIPLE = 7


def load(name: str) -> dict:
    """Read one file of the grammar."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def pattern(template: str, slot: str = ".+") -> str:
    """Return a regular expression for every text that `template` can make; `slot` stands for a value."""
    text = re.escape(template).replace("\\ ", " ")
    text = re.sub(r"\\\{\w+\\\}", lambda _: f"(?:{slot})", text)
    text = text.replace("\\[", "(?:").replace("\\|", "|").replace("\\]", ")")
    # An empty alternative leaves two spaces, which `fill` makes one.
    return text.replace(" ", r"\s*")


@cache
def grammar_words() -> list[str]:
    """Return the words of the grammar, without those that only the held-out values have."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.json"))]
    return sorted(set(re.findall(r"[a-z]{2,}", " ".join(texts))))


@cache
def held_values() -> frozenset[str]:
    """Return the slot values of the built-in prompt sets and the single words among them."""
    values: set[str] = set()
    for path in sorted(DATASETS.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict):
            for slot in document.get("slots", {}).values():
                values |= {str(value).lower() for value in slot}
    known = set(grammar_words())
    words = {word for value in values for word in value.split() if word not in known}
    return frozenset(values | words)


class Phrases:
    """Draws texts from templates with one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lexicon = load("lexicon")
        self.words, self.held = grammar_words(), held_values()

    def fill(self, template: str, **values: str) -> str:
        """Return one text of `template`; `values` overrides slots."""
        while found := INNERMOST.search(template):
            choice = self.rng.choice(found.group(1).split("|"))
            template = template[: found.start()] + choice + template[found.end() :]
        text = SLOT.sub(lambda m: values.get(m.group(1)) or self.slot(m.group(1)), template)
        return re.sub(r" +([,.;:!?]|$)", r"\1", re.sub(r" {2,}", " ", text)).strip()

    def slot(self, name: str) -> str:
        """Return one value of the slot `name`."""
        make = getattr(self, f"_{name}", None)
        while True:
            value = make() if make else self.fill(self.rng.choice(self.lexicon[name]))
            if value.lower() not in self.held:
                return value

    def invented(self, *, capital: bool, syllables: int = 3) -> str:
        """Return a made-up word."""
        pick = self.rng.choice
        count = self.rng.randint(1, syllables)
        if self.rng.random() < 0.5:
            word = "".join(pick(ONSETS) + pick(VOWELS) + pick(CODAS) for _ in range(count))
        else:
            word = "".join(self._splinter() for _ in range(count))
        if word in self.held or len(word) < 2:
            return self.invented(capital=capital)
        return word.capitalize() if capital else word

    def _splinter(self) -> str:
        """Return a part of a word of the grammar, or the whole."""
        word = self.rng.choice(self.words)
        start = self.rng.choice([0, 0, self.rng.randrange(len(word))])
        return word[start : start + self.rng.randint(2, 6)]

    def _maybe(self, name: str, *, capital: bool) -> str:
        if self.rng.random() < MADE_UP:
            words = [self.invented(capital=capital) for _ in range(self.rng.choice([1, 1, 1, 2]))]
            return " ".join(words)
        return self.fill(self.rng.choice(self.lexicon[name]))

    def _place(self) -> str:
        return self._maybe("place", capital=True)

    def _person(self) -> str:
        kind = self.rng.random()
        if kind < 0.3:
            return self.slot("role")
        first = self._maybe("first", capital=True)
        if kind < 0.6:
            return first
        return f"{first} {self._maybe('last', capital=True)}"

    def _event(self) -> str:
        if self.rng.random() < 0.3:
            return self._scrambled(2)
        template = self.rng.choice(
            ["{event_word} {event_last}"] * 5
            + [
                "{event_last} with {person}",
                "{event_word} {event_word} {event_last}",
                "{event_word}",
            ]
        )
        return self.fill(template)

    def _event_word(self) -> str:
        return self._maybe("event_first", capital=self.rng.random() < 0.3)

    def _query(self) -> str:
        if self.rng.random() < 0.3:
            return self._scrambled(3)
        topic = self._maybe("noun", capital=self.rng.random() < 0.4)
        ending = self.rng.choice(["", "", "", f" in {self._place()}", f" and {self.slot('noun')}"])
        head = self.rng.choice(["", "{query_head} "])
        return self.fill(head + topic + ending)

    def _number(self, top: int) -> int:
        """Return a number; multiples of `HELD_MULTIPLE` are kept for the test."""
        while True:
            number = self.rng.randint(2, top)
            if number % HELD_MULTIPLE:
                return number

    def _sum(self) -> str:
        number = lambda: str(self._number(10 ** self.rng.randint(1, 4)))
        sign = self.rng.choice(["+", "-", "*", "/", "plus", "minus", "times", "divided by"])
        text = f"{number()} {sign} {number()}"
        kind = self.rng.random()
        if kind < 0.15:
            return f"{text} {self.rng.choice('+-*/')} {number()}"
        if kind < 0.25:
            return f"{number()} percent of {number()}"
        if kind < 0.32:
            return f"the square root of {number()}"
        return text

    def _duration(self) -> str:
        if self.rng.random() < 0.25:
            return self.rng.choice(self.lexicon["duration_word"])
        return f"{self._number(99)} {self.slot('unit')}"

    def _scrambled(self, most: int) -> str:
        """Return a few words of the grammar, or made-up ones, in no order."""
        count = self.rng.randint(1, most)
        words = [self.rng.choice(self.words) for _ in range(count)]
        return " ".join(
            w if self.rng.random() < 0.6 else self.invented(capital=False) for w in words
        )

    def _phrase(self) -> str:
        if self.rng.random() < 0.5:
            return self._scrambled(4)
        return self.fill(self.rng.choice(self.lexicon["phrase"]))

    def _artist(self) -> str:
        return self.fill(self.rng.choice(ARTISTS))

    def _person_name(self) -> str:
        return f"{self._maybe('first', capital=True)} {self._maybe('last', capital=True)}"

    def _invented_name(self) -> str:
        return self.invented(capital=True)

    def _destination(self) -> str:
        return self.fill(
            self.rng.choice(
                ["{destination_head} {destination_noun}"] * 3
                + [
                    "{place}",
                    "{place}",
                    "{invented_name} {destination_noun}",
                    "{invented_name} Street",
                ]
                + ["the {invented_name} {destination_noun}", "the airport in {place}"]
            )
        )

    def _building(self) -> str:
        if self.rng.random() < 0.5:
            return self.fill("{owner} {building_noun}")
        return self.fill(self.rng.choice(self.lexicon["building"]))

    def _object(self) -> str:
        kind = self.rng.random()
        if kind < 0.25:
            return f"the {self.invented(capital=False)}"
        if kind < 0.4:
            return self.fill("{owner} {thing}")
        return self.fill(self.rng.choice(self.lexicon["object"]))

    def _target(self) -> str:
        if self.rng.random() < 0.2:
            return self._person()
        return self.fill(self.rng.choice(self.lexicon["target"]))

    def _object_or_building(self) -> str:
        return self._object() if self.rng.random() < 0.5 else self._building()

    def _subject(self) -> str:
        return (
            self._maybe("subject", capital=False) if self.rng.random() < 0.6 else self.slot("noun")
        )

    def _topic(self) -> str:
        if self.rng.random() < 0.25:
            return f"the {self.invented(capital=False)} {self.slot('noun')}"
        return self.fill(self.rng.choice(self.lexicon["topic"]))
