"""Characters that a reader could not see, or that would act on a terminal or a page.

Control characters (a terminal obeys some), lone surrogates (which have no encoding), and the marks
that turn the direction of writing (which make a text look like another) are shown as escapes.
"""

import unicodedata

TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str, *, keep: str = "\n\t") -> str:
    """Return ``text`` with what cannot be seen as escapes; the characters in ``keep`` stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each in keep else _shown(each) for each in text)


def shortened(text: str, n: int) -> str:
    """Return ``text``, cut to ``n`` characters with an ellipsis where it is longer."""
    return text if len(text) <= n else f"{text[: n - 1]}…"


def width(text: str) -> int:
    """Return the columns that ``text`` takes in a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _shown(character: str) -> str:
    if character not in TURNS and unicodedata.category(character) not in {"Cc", "Cs"}:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
