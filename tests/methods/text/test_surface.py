"""What is read off a text: words, neighbouring words, length and marks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.text.surface import TEXT_BASELINES, bag_of_words, word_pairs, words

SENTENCES = st.lists(st.sampled_from(["a", "b", "the", "The", "cat.", "x-y", "3", "?"]), min_size=1)
TEXTS = st.lists(SENTENCES.map(" ".join), min_size=1, max_size=6)


@given(TEXTS)
def test_counts_are_those_of_scikit_learn(texts):
    for ours, n in ((bag_of_words, 1), (word_pairs, 2)):
        counter = CountVectorizer(
            analyzer=lambda text, n=n: list(zip(*(words(text)[i:] for i in range(n)), strict=False))
        )
        if not any(len(words(text)) >= n for text in texts):
            assert ours(texts).shape == (len(texts), 0)
            continue
        theirs = counter.fit_transform(texts).toarray()
        assert sorted(ours(texts).T.tolist()) == sorted(theirs.T.tolist())


def test_word_pairs_separate_orders_from_statements_and_words_do_not():
    nouns = [f"noun{i}" for i in range(20)]
    texts = [t for n in nouns for t in (f"today ring the {n}", f"today the {n} ring")]
    y, groups = np.tile([1, 0], 20), np.repeat(np.arange(20), 2)
    found = {
        name: cross_validated_probe(measure(texts), y, groups, n_boot=20, n_shuffles=0).auroc.value
        for name, measure in TEXT_BASELINES.items()
    }
    assert found == {"words": 0.5, "word_pairs": 1.0, "surface": found["surface"]}
