"""The training text: seeded streams of examples, one stream for each thing to learn.

No template and no slot value of `datasets/` can come out of it (`tests/test_tiny.py`).
"""

import random
from collections.abc import Callable, Iterator

from chat import Chat
from markup import Example
from phrases import Phrases
from raw import Raw


def streams(seed: int | str) -> dict[str, Callable[[], Example]]:
    """Return the function that makes one example, by stream; all draw from one generator."""
    phrases = Phrases(random.Random(seed))
    chat, raw = Chat(phrases), Raw(phrases)
    return {
        "chat": chat.chat,
        "arithmetic": raw.arithmetic,
        "sentiment": raw.sentiment_example,
        "mood": raw.mood_example,
        "copy": chat.copy_example,
    }


def documents(seed: int, count: int) -> Iterator[str]:
    """Yield `count` whole documents, for the tokenizer."""
    makers = [make for name, make in streams(seed).items() if name != "copy"]
    for index in range(count):
        yield "".join(text for text, _ in makers[index % len(makers)]().pieces)
