"""Forms of a prompt: numbers are those of the states."""

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from scipy.stats import entropy

from circuit.errors import UsageError
from circuit.introspect.questions.format_sensitivity import format_sensitivity
from circuit.model.checkpoint.loading import load_model
from circuit.model.sites.sites import hidden_states
from circuit.stages.rows.prompt_input import PromptInput
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW, PromptFormat
from circuit.values.sites import Site


def state(model, text, layer, chat=False):
    (prompt,) = encode(model, [text], PromptFormat(chat=chat))
    site = Site("resid_post", layer)
    return np.array(hidden_states(model, mx.array(prompt.ids[None]), [site])[site])[0, -1]


def test_numbers_are_those_of_the_states(llama):
    found = format_sensitivity(llama, PromptInput(["1 + 1 = "]), layers="0,2", max_tokens=2)
    assert [c.forms for c in found.contrasts] == [
        ("raw, no blank", "raw, blank"),
        ("raw, no blank", "chat, no blank"),
    ]
    others = [("1 + 1 = ", False), ("1 + 1 =", True)]
    for contrast, (text, chat) in zip(found.contrasts, others, strict=True):
        assert [gap.layer for gap in contrast.layers] == [0, 2]
        for gap in contrast.layers:
            a, b = state(llama, "1 + 1 =", gap.layer), state(llama, text, gap.layer, chat)
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert gap.cosine == [pytest.approx(cosine, abs=1e-4), None, None]
            distance = np.linalg.norm(b - a) / np.linalg.norm(a)
            assert gap.distance[0] == pytest.approx(distance, rel=1e-3)
            assert gap.between_cosine is None
        p, q = (
            np.exp(np.array(llama.network(mx.array(e.ids[None])))[0, -1].astype(float))
            for e in (
                encode(llama, ["1 + 1 ="], RAW)[0],
                encode(llama, [text], PromptFormat(chat=chat))[0],
            )
        )
        assert contrast.outputs[0].kl == pytest.approx(entropy(q, p), abs=1e-4)


def test_different_prompts_are_the_measure(llama):
    found = format_sensitivity(llama, PromptInput(["a", "b", "c"]), max_tokens=1)
    (gap, *_) = found.contrasts[0].layers
    states = [state(llama, text, 0) for text in "abc"]
    pairs = [(states[i], states[j]) for i in range(3) for j in range(3) if i != j]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
    assert gap.between_cosine == pytest.approx(np.mean(cosines), abs=1e-4)
    value, low, high = gap.cosine
    assert low <= value <= high


def test_without_a_template_there_is_raw_text_only(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, chat=False)))
    found = format_sensitivity(model, PromptInput(["a"]), max_tokens=1)
    assert not found.has_template
    assert len(found.contrasts) == 1


def test_layers_that_there_are_not(llama):
    with pytest.raises(UsageError, match="out of range"):
        format_sensitivity(llama, PromptInput(["a"]), layers="9")
