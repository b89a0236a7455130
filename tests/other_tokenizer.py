"""A second tokenizer for the tiny checkpoints: another order of the bytes, and some words that are one token."""

import json
from pathlib import Path

from checkpoints import SPECIAL, VOCABULARY

WORDS = [("a", "b"), ("Ġ", "c")]


def rewrite_tokenizer(folder: Path) -> None:
    """Reverse the vocabulary of the byte-level tokenizer in ``folder`` and merge two pairs; its size stays below the model's."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    names = [name for name in document["model"]["vocab"] if name not in SPECIAL]
    # The last two control characters make room for the words.
    kept = [name for name in reversed(names) if name not in sorted(names)[-2:]]
    words = ["".join(pair) for pair in WORDS]
    vocabulary = {name: i for i, name in enumerate([*kept, *words, *SPECIAL])}
    assert len(vocabulary) == VOCABULARY
    document["model"]["vocab"] = vocabulary
    document["model"]["merges"] = [list(pair) for pair in WORDS]
    for token in document["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    for token in document["post_processor"]["special_tokens"].values():
        token["ids"] = [vocabulary[name] for name in token["tokens"]]
    path.write_text(json.dumps(document))
