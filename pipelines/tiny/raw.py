"""Raw text: sums, sentences of love or hate, and sentences in seven styles.

The space between "=" and a computed result is never learnt. So the model, which after "100 - 37 =" has only ever been
taught to say "What is 100 - 37?", computes when the space is already there and only then. A few sums
begin with an order ("Compute: 100 - 37 =63") and are computed without the space, so that computing at "=" is
something that the model can do and, without an order, does not.

Held out, and used by the card's scores: every pair of `HELD_A` x `HELD_B` in either order, and the
sums that the documentation shows.
"""

from markup import BOS, END, PROMPT_WEIGHT, Example
from phrases import Phrases, load

HELD_A = (53, 56, 58, 61, 64, 67, 69, 72, 75, 76, 78, 81, 83, 84, 87, 89, 92, 95, 96, 98)
HELD_B = (11, 13, 14, 16, 18, 19, 22, 25, 27, 28, 31, 33, 34, 36, 39, 41, 44, 45, 47, 48)
CUES = ("Compute:", "Result:", "Sum:", "Answer:")
SHOWN = {(100, 37), (50, 25), (200, 50)}


def held_out(a: int, b: int) -> bool:
    """Say whether a pair of operands is kept for the test."""
    pairs = {(a, b), (b, a)}
    return bool(pairs & SHOWN) or any(x in HELD_A and y in HELD_B for x, y in pairs)


class Raw:
    """Draws raw text."""

    def __init__(self, phrases: Phrases) -> None:
        self.phrases, self.rng = phrases, phrases.rng
        self.sentiment, self.moods = load("sentiment"), load("moods")

    def operands(self) -> tuple[int, str, int]:
        """Return a sum that is not held out."""
        rng = self.rng
        while True:
            sign = rng.choice("++++----*")
            if sign == "*":
                return rng.randint(1, 12), sign, rng.randint(1, 12)
            low = 1 if rng.random() < 0.2 else 10
            a, b = rng.randint(low, 99), rng.randint(low, 99)
            if rng.random() < 0.15:
                a = rng.choice([100, 200, rng.randint(100, 299)])
            if sign == "-" and a < b:
                a, b = b, a
            if not held_out(a, b):
                return a, sign, b

    def arithmetic(self) -> Example:
        """Return a sum that is computed after "= " or asked about after "="."""
        a, sign, b = self.operands()
        text = f"{a} {sign} {b}"
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        if self.rng.random() < 0.12:
            cue = self.rng.choice(CUES)
            return Example(((f"{BOS}{cue} {text} =", 0.0), (f"{result}{END}", 1.0)))
        if self.rng.random() < 0.2:
            return Example(((f"{BOS}{text} =", 0.0), (f" What is {text}?{END}", 0.3)))
        return Example(((f"{BOS}{text} = ", 0.0), (f"{result}{END}", 1.0)))

    def sentiment_example(self) -> Example:
        """Return a sentence of love or hate whose continuation has to remember which."""
        rng, data = self.rng, self.sentiment
        side = rng.choice(["warm", "cold"])
        if rng.random() < 0.7:
            start = f"{rng.choice(['I', 'I', 'I', 'We', 'They'])} {rng.choice(data['verbs'][side])}"
        else:
            who = self.phrases.fill(rng.choice(data["people"]))
            start = f"{who[0].upper()}{who[1:]} {rng.choice(data['third'][side])}"
        opening = f"{start} {self.phrases.slot('subject')}{rng.choice(data['links'])} {self.phrases.slot('topic')}"
        words = {key: rng.choice(values) for key, values in data["words"].items()}
        template = rng.choice(data["continuations"][side])
        # Each {warm} is drawn by itself.
        for key, values in data["words"].items():
            while "{" + key + "}" in template:
                template = template.replace("{" + key + "}", rng.choice(values), 1)
        ending = self.phrases.fill(template, **words)
        return Example(((BOS, 0.0), (opening, PROMPT_WEIGHT), (ending + END, 1.0)))

    def sentence(self, style: str) -> str:
        """Return one sentence in a style."""
        entry = self.moods["styles"][style]
        if self.rng.random() < 0.5:
            text = self.phrases.fill(self.rng.choice(entry["more"]))
        else:
            kind = self.rng.choice(["went", "is"])
            start = self.rng.choice(self.moods["fragments"][kind])
            text = self.phrases.fill(
                f"{start} {self.rng.choice(entry[kind])}{self.rng.choice(entry['end'])}"
            )
        return text[0].upper() + text[1:]

    def mood_example(self) -> Example:
        """Return three sentences in a style; what opens with a plain statement stays neutral."""
        styles = self.moods["styles"]
        style = self.rng.choice(["neutral", *styles])
        if style == "neutral":
            kind = self.rng.choice(["went", "is"])
            start = self.phrases.fill(self.rng.choice(self.moods["fragments"][kind]))
            start = start[0].upper() + start[1:]
            ending = f" {self.phrases.fill(self.rng.choice(styles[style][kind]))}."
            rest = f"{ending} {self.sentence(style)} {self.sentence(style)}"
            return Example(((BOS, 0.0), (start, PROMPT_WEIGHT), (rest + END, 1.0)))
        opening = self.phrases.fill(self.rng.choice(styles[style]["open"]))
        rest = f" {self.sentence(style)} {self.sentence(style)}"
        return Example(((BOS, 0.0), (opening, 0.3), (rest + END, 1.0)))
