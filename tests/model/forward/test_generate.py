"""What is generated is what the model would write after each prompt alone, or an error."""

import mlx.core as mx
import numpy as np
from architectures import CONFIGS
from checkpoints import unit_vector, write_checkpoint
from errors import raises

from circuit.errors import DataError, ModelError
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.generate import (
    RAGGED,
    batch_error,
    generate,
    may_be_batched,
    may_be_ragged,
)
from circuit.model.forward.scopes import parse_scope
from circuit.model.interventions.steering import Steering, steered
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
