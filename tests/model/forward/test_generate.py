"""What is generated is what the model would write after each prompt alone, or an error."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from architectures import CONFIGS
from checkpoints import unit_vector, write_checkpoint
from errors import raises

from circuit.errors import DataError, ModelError
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.generate import (
    RAGGED,
    batch_error,
    generate,
    generate_each,
    may_be_batched,
    may_be_ragged,
)
from circuit.model.forward.scopes import parse_scope
from circuit.model.interventions.steering import Steering, steered, steered_variant
from circuit.model.prompts.tokens import EncodedPrompt, encode_prompts
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

MAMBA = {"state_size": 8, "conv_kernel": 4, "expand": 2, "time_step_rank": 4}
MAMBA |= {"use_bias": False, "use_conv_bias": True}
TEXTS = ["Hello", "A longer prompt than that", "x"]


def test_a_family_whose_pads_enter_the_state_runs_prompts_of_equal_length(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, "mamba", **MAMBA)))
    assert batch_error(model, RAGGED) > 1e-3
    prompts = encode_prompts(model, TEXTS)
    together = [g.ids for g in generate(model, prompts, Sampling(6))]
    assert together == [generate(model, [p], Sampling(6))[0].ids for p in prompts]
    forced = [g.ids for g in generate(model, prompts, Sampling(6), ragged=True)]
    assert forced != together  # when this fails, mlx-lm has mended it


def test_a_family_whose_batches_do_not_run_answers_one_prompt_at_a_time(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, "gemma2", **CONFIGS["gemma2"])))
    assert not may_be_batched(model)  # when this fails, mlx-lm has mended it
    prompts = encode_prompts(model, [*TEXTS, "ABCDE", "bcdef", "cdefg", "defgh"])
    together = [g.ids for g in generate(model, prompts, Sampling(4))]
    assert together == [generate(model, [p], Sampling(4))[0].ids for p in prompts]
    with steered(
        model,
        [
            Steering(
                Site("resid_post", 1), unit_vector(model.d_model), 1.0, scope=parse_scope("prompt")
            )
        ],
    ):
        scoped = [g.ids for g in generate(model, prompts, Sampling(4), in_step=True)]
    assert scoped != together


def test_attention_may_be_ragged(llama):
    assert may_be_ragged(llama)
    assert may_be_batched(llama)


def test_an_answer_that_leaves_the_context_is_refused(llama):
    with raises(DataError, "prompt-too-long", prompt=0, n_tokens=250, limit=256):
        generate(llama, [EncodedPrompt(np.ones(250, np.int32))], Sampling(7))
    assert generate(llama, [EncodedPrompt(np.ones(250, np.int32))], Sampling(6))


def test_logits_that_are_not_numbers_are_refused(tmp_path):
    model = load_model(str(write_checkpoint(tmp_path, dtype="float16")), dtype="checkpoint")
    v = np.ones(model.d_model, np.float32) / np.sqrt(model.d_model)
    prompts = encode_prompts(model, TEXTS[:1])
    with (
        steered(model, [Steering(Site("resid_post", 1), v, 1e6)]),
        raises(ModelError, "not-finite"),
    ):
        generate(model, prompts, Sampling(3))
    assert mx.all(mx.isfinite(model.network(mx.array(prompts[0].ids[None]))))


def several(model):
    """Return steerings of all kinds, of which some end answers early."""
    v = [unit_vector(model.d_model, seed) for seed in range(4)]
    return [
        [],
        [Steering(Site("resid_post", 1), v[0], 1.5)],
        [Steering(Site("resid_post", 0), v[1], -2.0, scope=parse_scope("generated"))],
        [Steering(Site("resid_post", 1), v[2], 2.0, scope=parse_scope("prompt"))],
        [Steering(Site("resid_pre", 2), v[3], 0.7, operator="ablate")],
    ]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "mixtral", "mamba"])
@pytest.mark.parametrize("batch_size", [3, 7, 64])
def test_several_variants_write_together_what_each_writes_alone(of, family, batch_size):
    model = of(family)
    prompts = encode_prompts(model, [*TEXTS, "ABCDE", "bcdef"])
    ragged, steerings = may_be_ragged(model), several(model)
    variants = [steered_variant(model, each) for each in steerings]
    together = generate_each(
        model, prompts, variants, max_tokens=6, batch_size=batch_size, ragged=ragged
    )
    for each, ours in zip(steerings, together, strict=True):
        with steered(model, each):
            alone = generate(model, prompts, Sampling(6), ragged=ragged, in_step=True)
        assert ours == [answer.ids for answer in alone]


def test_an_answer_that_ends_leaves_the_others_under_their_own_variant(llama, monkeypatch):
    """The end tokens are those that some answers have in their middle."""
    prompts = encode_prompts(llama, [*TEXTS, "ABCDE", "bcdef"])
    steerings = several(llama)
    variants = [steered_variant(llama, each) for each in steerings]
    run = partial(generate_each, llama, prompts, variants, max_tokens=8, ragged=True)
    long = run(batch_size=64)
    ends = {long[1][0][2], long[4][1][5], long[0][2][0]}
    monkeypatch.setattr(llama.tokenizer, "_eos_token_ids", ends)
    cut = [
        [ids[: next((i for i, t in enumerate(ids) if t in ends), 8)] for ids in answers]
        for answers in long
    ]
    assert sum(len(ids) for each in cut for ids in each) < sum(len(i) for e in long for i in e)
    assert run(batch_size=64) == cut
    assert run(batch_size=7) == cut
