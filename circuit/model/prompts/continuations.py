"""The token ids of an answer after a prompt: tokenised together with it, not alone.

A tokenizer encodes "Yes" after "Answer:" and at the start of a text differently (SentencePiece puts
a space before it, BPE may merge it with what precedes). So prompt and answer are tokenised as one
text, and the prompt's own tokens are cut off. Where they are not a prefix of the whole, because one
token spans the border, the answer is tokenised alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from circuit.errors import DataError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.prompts.rendering import render
from circuit.model.prompts.tokens import EncodedPrompt


def prefilled(prompts: Sequence[EncodedPrompt], prefill: str) -> list[EncodedPrompt]:
    """Return the prompts followed by the beginning of an answer, which the model continues."""
    if not prefill:
        return list(prompts)
    longer = []
    for number, prompt in enumerate(prompts):
        ids = _after(prompt, number, [prefill])[0]
        longer.append(replace(prompt, ids=np.concatenate([prompt.ids, np.array(ids, np.int32)])))
    return longer


def answer_ids(
    prompts: Sequence[EncodedPrompt], answers: Sequence[Sequence[str]], prefill: str = ""
) -> list[list[list[int]]]:
    """Return the token ids of each prompt's answers after the prompt (and ``prefill``)."""
    found = []
    for number, (prompt, listed) in enumerate(zip(prompts, answers, strict=True)):
        found.append(_after(prompt, number, listed, prefill))
    return found


def _after(
    prompt: EncodedPrompt, number: int, answers: Sequence[str], prefill: str = ""
) -> list[list[int]]:
    source = prompt.origin(number)
    before = render(source.model, prompt.text, source.format) + prefill
    start, *whole = source.tokenised([before, *(before + answer for answer in answers)])
    found = []
    for answer, ids in zip(answers, whole, strict=True):
        own = ids[len(start) :] if ids[: len(start)] == start else _alone(source.model, answer)
        if not own:
            raise DataError(
                "answer-without-tokens",
                f"the answer {answer!r} has no token after prompt {number}",
                hint="give an answer that the tokenizer does not drop",
                answer=answer,
                prompt=number,
            )
        found.append(own)
    return found


def _alone(model: LoadedModel, answer: str) -> list[int]:
    ids: list[int] = model.tokenizer.encode(answer, add_special_tokens=False)
    return ids
