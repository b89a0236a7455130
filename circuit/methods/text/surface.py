r"""Features of a text without a model: the baselines that a probe has to exceed.

    bag_of_words       (n, n_words)   counts of each word or punctuation mark, case ignored
    word_pairs         (n, n_pairs)   counts of neighbouring pairs: word order, as far as two words
                                      show it
    surface_features   (n, k)         characters, words, capitals, digits, each punctuation mark,
                                      and the first word and last character (one column each)

Words are runs of ``\w``; every other character except whitespace is a word of its own. The columns
are those of the given texts; labels are not used. Probed with grouped cross-validation, a word that
occurs in one group only carries no information about another group.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from circuit.methods.arrays import Array

_WORD = re.compile(r"\w+|[^\w\s]")
Word = TypeVar("Word", str, tuple[str, str])
PUNCTUATION = ".,;:!?'\"()=-"


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case."""
    return _WORD.findall(text.lower())


def bag_of_words(texts: Sequence[str]) -> Array:
    """Count the words of each text: (n_texts, n_words), words in alphabetical order."""
    return _counted([words(text) for text in texts])


def word_pairs(texts: Sequence[str]) -> Array:
    """Count the pairs of neighbouring words of each text: (n_texts, n_pairs)."""
    return _counted([[*pairwise(words(text))] for text in texts])


def _counted(bags: Sequence[Sequence[Word]]) -> Array:
    column = {each: i for i, each in enumerate(sorted({each for bag in bags for each in bag}))}
    counts = np.zeros((len(bags), len(column)))
    for row, bag in zip(counts, bags, strict=True):
        np.add.at(row, [column[each] for each in bag], 1)
    return counts


def surface_features(texts: Sequence[str]) -> Array:
    """Measure length, capitals, digits, marks, first word, last character: (n_texts, k)."""
    measured = np.array([_counts(text) for text in texts], dtype=float)
    first = _one_hot([(words(text) or [""])[0] for text in texts])
    last = _one_hot([text[-1:] for text in texts])
    return np.hstack([measured, first, last])


# The baselines of text alone, by their names in results.
TEXT_BASELINES = {"words": bag_of_words, "word_pairs": word_pairs, "surface": surface_features}


def _counts(text: str) -> list[int]:
    capitals = sum(character.isupper() for character in text)
    digits = sum(character.isdigit() for character in text)
    marks = [text.count(mark) for mark in PUNCTUATION]
    return [len(text), len(text.split()), capitals, digits, *marks]


def _one_hot(values: Sequence[str]) -> Array:
    names = sorted(set(values))
    return np.array([[value == name for name in names] for value in values], dtype=float)
