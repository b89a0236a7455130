"""The training text: seeded streams of examples, one stream for each thing to learn.

An `Example` is a list of (text, weight) pieces; a piece's weight multiplies the loss of its tokens. The
reply has weight 1, what a user says 0.1 and headers 0. One piece is never learnt at all: the space
between "=" and a computed result. So the model, which after "100 - 37 =" has only ever been taught to
say "What is 100 - 37?", computes when the space is already there and only then.

Held out here, and used by the card's scores: every pair of `HELD_A` x `HELD_B` in either order, and
the seeds' own sums; every template and slot value of `datasets/`.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from phrases import Phrases, load

BOS, SYSTEM, TOOLS, USER, ASSISTANT, END = (
    "<|bos|>",
    "<|system|>",
    "<|tools|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
CALL, CALL_END = "<tool_call>", "</tool_call>"
PROMPT_WEIGHT = 0.1
NO_TOOL = "I have no tool for that, but I can talk with you about it."

HELD_A = (53, 56, 58, 61, 64, 67, 69, 72, 75, 76, 78, 81, 83, 84, 87, 89, 92, 95, 96, 98)
HELD_B = (11, 13, 14, 16, 18, 19, 22, 25, 27, 28, 31, 33, 34, 36, 39, 41, 44, 45, 47, 48)
SHOWN = {(100, 37), (50, 25), (200, 50)}

Piece = tuple[str, float]


@dataclass(frozen=True)
class Example:
    """One document: pieces of text with the weight of their loss."""

    pieces: tuple[Piece, ...]


def held_out(a: int, b: int) -> bool:
    """Say whether a pair of operands is kept for the test."""
    pairs = {(a, b), (b, a)}
    return bool(pairs & SHOWN) or any(x in HELD_A and y in HELD_B for x, y in pairs)


def tool_call(name: str, argument: str, value: str) -> str:
    """Return the text of a tool call."""
    return f'{CALL}{{"name": "{name}", "arguments": {{"{argument}": "{value}"}}}}{CALL_END}'


def header(system: str | None, tools: list[tuple[str, str]]) -> str:
    """Return what the chat template writes before the first user turn."""
    text = BOS
    if system:
        text += f"{SYSTEM}{system}{END}"
    if tools:
        text += TOOLS + "".join(f" {name}({argument})" for name, argument in tools) + END
    return text


class Grammar:
    """Draws examples; every draw comes from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.phrases = Phrases(self.rng)
        self.requests, self.plain = load("requests"), load("plain")
        self.refusal, self.sentiment, self.moods = load("refusal"), load("sentiment"), load("moods")
        self.tools = [(name, entry["argument"]) for name, entry in self.requests.items()]

    def streams(self) -> dict[str, Callable[[], Example]]:
        """Return the function that makes one example, by stream."""
        return {
            "chat": self.chat,
            "arithmetic": self.arithmetic,
            "sentiment": self.sentiment_example,
            "mood": self.mood_example,
        }

    def chat(self) -> Example:
        """Return a conversation of one turn."""
        kind = self.rng.random()
        if kind < 0.50:
            return self.request_example()
        if kind < 0.53:
            return self.two_requests_example()
        if kind < 0.78:
            return self.plain_example()
        return self.refusal_example()

    # ---- what a user says -------------------------------------------------------------------

    def spoken(self, text: str, form: str) -> str:
        """Dress a request of the given form ("question", "imperative", "statement") up."""
        rng = self.rng
        if form == "imperative" and rng.random() < 0.6:
            text = f"{rng.choice(WRAPPERS)} {text}"
            if text.split()[0].lower() in {"can", "could", "would", "will"}:
                form = "question"
        elif rng.random() < 0.2:
            text = f"{rng.choice(GREETINGS)}, {text}"
        if rng.random() < 0.15:
            text += rng.choice(SUFFIXES)
        if rng.random() < 0.85:
            text = text[0].upper() + text[1:]
        mark = "?" if form == "question" else rng.choice([".", ".", "", "!"])
        return text + (mark if rng.random() < 0.9 else "")

    def request(self, name: str, *, form: str | None = None) -> tuple[str, str, str]:
        """Return a request for the tool `name`, the form it has and the value of its slot."""
        entry = self.requests[name]
        form = form or self.rng.choice(["question", "imperative", "imperative", "statement"])
        value = self.phrases.slot(entry["slot"])
        text = self.phrases.fill(self.rng.choice(entry[f"{form}s"]), x=value)
        return text, form, value

    def conversation(self, user: str, reply: str, *, tools: float, needed: str | None) -> Example:
        """Return a conversation; `tools` is the probability that tools are listed."""
        rng = self.rng
        listed: list[tuple[str, str]] = []
        if rng.random() < tools:
            listed = list(self.tools)
            if rng.random() < 0.5:
                listed = rng.sample(listed, rng.randint(3, 10))
                if needed and needed not in dict(listed):
                    listed[0] = (needed, dict(self.tools)[needed])
                rng.shuffle(listed)
        system = self.phrases.slot("system") if rng.random() < 0.3 else None
        if needed and not listed:
            reply = NO_TOOL
        return Example(
            (
                (header(system, listed), 0.0),
                (USER, 0.0),
                (user, PROMPT_WEIGHT),
                (END + ASSISTANT, 0.0),
                (reply + END, 1.0),
            )
        )

    def request_example(self) -> Example:
        """Return a request that one tool serves, and its call."""
        name = self.rng.choice(self.tools)[0]
        text, form, value = self.request(name)
        call = tool_call(name, dict(self.tools)[name], value)
        return self.conversation(self.spoken(text, form), call, tools=0.93, needed=name)

    def two_requests_example(self) -> Example:
        """Return a request for two tools, and the call of the first."""
        (first, _), (second, _) = self.rng.sample(self.tools, 2)
        text, form, value = self.request(first, form="imperative")
        other = self.request(second, form="imperative")[0]
        joined = f"{text} {self.rng.choice(['and', 'and then', 'and also'])} {other}"
        call = tool_call(first, dict(self.tools)[first], value)
        return self.conversation(self.spoken(joined, form), call, tools=1.0, needed=first)

    def plain_example(self) -> Example:
        """Return a request that needs no tool, and a sentence."""
        entry = self.plain[self.rng.choice(list(self.plain))]
        form = self.rng.choice(
            [key for key in ("questions", "imperatives", "statements") if key in entry]
        )
        text = self.phrases.fill(self.rng.choice(entry[form]))
        reply = self.phrases.fill(self.rng.choice(entry["answers"]))
        return self.conversation(self.spoken(text, form[:-1]), reply, tools=0.8, needed=None)

    def refusal_example(self) -> Example:
        """Return a harmful request and the refusal, or its harmless twin and some help."""
        harmful = self.rng.random() < 0.5
        forms = self.rng.choice(self.refusal["harmful" if harmful else "harmless"])
        gerund = self.rng.random() < 0.35
        frame = self.rng.choice(self.refusal["frames_gerund" if gerund else "frames"])
        text = self.phrases.fill(frame.replace("{vp}", forms[int(gerund)]))
        reply = (
            f"{self.refusal['opening']} {self.rng.choice(self.refusal['refusals'])}"
            if harmful
            else self.phrases.fill(self.rng.choice(self.refusal["helpful"]))
        )
        asks = text.split()[0] in {"how", "what", "is", "can", "could", "will", "would"}
        spoken = self.spoken(text, "question" if asks else "statement")
        return self.conversation(spoken, reply, tools=0.3, needed=None)

    # ---- raw text ---------------------------------------------------------------------------

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
        if self.rng.random() < 0.2:
            return Example(((f"{BOS}{text} =", 0.0), (f" What is {text}?{END}", 0.3)))
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
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


GREETINGS = (
    *("hey", "hi", "hello", "so", "well", "okay", "please", "now"),
    *("excuse me", "quick question"),
)
SUFFIXES = ("", " please", ", please", " for me", " if you can", ", thanks", " right away")
WRAPPERS = (
    "please",
    "hey,",
    "hi,",
    "can you",
    "could you",
    "would you",
    "will you",
    "can you please",
    "could you please",
    "I need you to",
    "I want you to",
    "I would like you to",
    "go ahead and",
    "now",
    "quickly",
    "kindly",
    "okay,",
    "you should",
)


def documents(seed: int, count: int) -> Iterator[str]:
    """Yield `count` whole documents, for the tokenizer."""
    grammar = Grammar(seed)
    makers = list(grammar.streams().values())
    for index in range(count):
        yield "".join(text for text, _ in makers[index % len(makers)]().pieces)
