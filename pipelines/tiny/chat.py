"""Conversations of one turn: requests for a tool, requests for none, refusals, and copying.

A request is a template with one slot, dressed up as a question, a command or a statement. When tools are listed the
reply is a call with the slot's value; when none is listed it is a sentence. A copying example is
the same in a nutshell: a few words with a slot, and the slot in quotation marks.
"""

from markup import (
    ASSISTANT,
    BOS,
    END,
    PROMPT_WEIGHT,
    USER,
    Example,
    Piece,
    call_pieces,
    header,
)
from phrases import Phrases, load

NO_TOOL = "I have no tool for that, but I can talk with you about it."
CUES = {
    "get_weather": ("weather in {x}", "rain in {x} today", "how cold is it in {x}"),
    "create_event": ("schedule a {x}", "put the {x} in my diary", "add my {x} to the calendar"),
    "web_search": ("search for {x}", "google {x}", "web pages about {x}"),
    "send_email": ("email {x}", "send an email to {x}", "write {x} an email about lunch"),
    "calculator": ("calculate {x}", "what is {x}", "the result of {x}"),
    "set_timer": ("timer for {x}", "remind me in {x}", "start a countdown of {x} for the rice"),
    "get_time": ("time in {x}", "what time is it in {x}", "how late is it in {x} now"),
    "translate": ("translate {x} to {language}", "say {x} in {language}", "{x} in {language}"),
    "play_music": ("play {x}", "songs by {x}", "put on music by {x} tonight"),
    "get_directions": ("the way to {x}", "take me to {x}", "route to {x} from here"),
}
GREETINGS = (
    *("hey", "hi", "hello", "so", "well", "okay", "please", "now"),
    *("excuse me", "quick question"),
)
# What may follow a slot and does not belong to it.
TAILS = (
    *(
        "tonight",
        "later",
        "later today",
        "by noon",
        "all day",
        "at once",
        "this time",
        "soon",
    ),
    *("before lunch", "in the morning", "for my sister", "for us", "for my class", "for the party"),
    *(
        "and be quick",
        "and thank you",
        "by car",
        "by train",
        "on foot",
        "before we leave",
        "once more",
    ),
    *(
        "as soon as you can",
        "for the first time",
        "on the way home",
        "after work",
        "with my friend",
    ),
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


class Chat:
    """Draws conversations."""

    def __init__(self, phrases: Phrases) -> None:
        self.phrases, self.rng = phrases, phrases.rng
        self.requests, self.plain, self.refusal = load("requests"), load("plain"), load("refusal")
        self.tools = [(name, entry["argument"]) for name, entry in self.requests.items()]

    def chat(self) -> Example:
        """Return a conversation of one turn."""
        kind = self.rng.random()
        if kind < 0.44:
            return self.request_example()
        if kind < 0.47:
            return self.two_requests_example()
        if kind < 0.76:
            return self.plain_example()
        return self.refusal_example()

    def spoken(self, text: str, form: str) -> str:
        """Dress a request of the given form ("question", "imperative", "statement") up."""
        rng = self.rng
        if form == "imperative" and rng.random() < 0.6:
            text = f"{rng.choice(WRAPPERS)} {text}"
            if text.split()[0].lower() in {"can", "could", "would", "will"}:
                form = "question"
        elif rng.random() < 0.2:
            text = f"{rng.choice(GREETINGS)}, {text}"
        if rng.random() < 0.3:
            text += f" {rng.choice(TAILS)}"
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

    def conversation(
        self, user: str, reply: tuple[Piece, ...], *, tools: float, needed: str | None
    ) -> Example:
        """Return a conversation; `tools` is the probability that tools are listed."""
        rng = self.rng
        listed: list[tuple[str, str]] = []
        if rng.random() < tools:
            listed = list(self.tools)
            if rng.random() < 0.65:
                listed = rng.sample(listed, rng.randint(1, 7))
                if needed and needed not in dict(listed):
                    listed[0] = (needed, dict(self.tools)[needed])
                rng.shuffle(listed)
        system = self.phrases.slot("system") if rng.random() < 0.3 else None
        if needed and not listed:
            reply = ((NO_TOOL, 1.0),)
        return Example(
            (
                (header(system, listed), 0.0),
                (USER, 0.0),
                (user, PROMPT_WEIGHT),
                (END + ASSISTANT, 0.0),
                *reply,
                (END, 1.0),
            )
        )

    def request_example(self) -> Example:
        """Return a request that one tool serves, and its call."""
        name = self.rng.choice(self.tools)[0]
        text, form, value = self.request(name)
        call = call_pieces(name, dict(self.tools)[name], value)
        return self.conversation(self.spoken(text, form), call, tools=0.93, needed=name)

    def two_requests_example(self) -> Example:
        """Return a request for two tools, and the call of the first."""
        (first, _), (second, _) = self.rng.sample(self.tools, 2)
        text, form, value = self.request(first, form="imperative")
        other = self.request(second, form="imperative")[0]
        joined = f"{text} {self.rng.choice(['and', 'and then', 'and also'])} {other}"
        call = call_pieces(first, dict(self.tools)[first], value)
        return self.conversation(self.spoken(joined, form), call, tools=1.0, needed=first)

    def plain_example(self) -> Example:
        """Return a request that needs no tool, and a sentence."""
        entry = self.plain[self.rng.choice(list(self.plain))]
        form = self.rng.choice(
            [key for key in ("questions", "imperatives", "statements") if key in entry]
        )
        text = self.phrases.fill(self.rng.choice(entry[form]))
        reply = self.phrases.fill(self.rng.choice(entry["answers"]))
        return self.conversation(
            self.spoken(text, form[:-1]), ((reply, 1.0),), tools=0.8, needed=None
        )

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
        return self.conversation(spoken, ((reply, 1.0),), tools=0.3, needed=None)

    def copy_example(self) -> Example:
        """Return a short prompt and its slot in quotation marks: tool calls in a nutshell."""
        name = self.rng.choice(self.tools)[0]
        value = self.phrases.slot(self.requests[name]["slot"])
        cue = self.phrases.fill(self.rng.choice(CUES[name]), x=value)
        ending = self.rng.choice(["", "?", ".", "!", " now?", " please.", ", thanks."])
        return Example(((f"{BOS}{cue}{ending}", 0.0), (' "', 0.0), (value, 1.0), (f'"{END}', 1.0)))
