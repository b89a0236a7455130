"""The self-test: five checks on short prompts that circuit measures the model unchanged.

1. Taps at every block change no bit of the logits.
2. The model's own tail turns the last block's residual into the model's logits.
3. Every site that the model is said to offer fires, and each block adds up from its parts.
4. A prompt in a right-padded batch has the states that it has alone.
5. What is generated in a batch, with a cache, is what full forward passes would choose.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from circuit.errors import CircuitError
from circuit.model.checkpoint.loading import LoadedModel
from circuit.model.forward.capture import capture, plan
from circuit.model.forward.generate import generate
from circuit.model.forward.padding import IDS, padding_bound, padding_error, relative_error
from circuit.model.forward.tail import tail_logits
from circuit.model.prompts.tokens import EncodedPrompt
from circuit.model.sites.sites import (
    available_sites,
    check_family,
    hidden_states,
    recording,
    sites_at,
)
from circuit.values.sampling import Sampling
from circuit.values.sites import Site


@dataclass(frozen=True)
class Check:
    """One property of the model under taps, and the measured number."""

    name: str
    passed: bool
    detail: str


def self_test(model: LoadedModel) -> list[Check]:
    """Run the five checks; a check that cannot run has failed."""
    return [_attempt(name, check, model) for name, check in CHECKS.items()]


def cores_used(model: LoadedModel) -> float:
    """Return how many cores a forward pass keeps busy: processor time of a capture / wall time."""
    ids = np.random.default_rng(0).integers(1, 32, (32, 32), np.int32)
    prompts = [EncodedPrompt(row) for row in ids]
    running = plan(model, prompts, sites=[Site("resid_post", model.n_layers - 1)])
    for _ in range(2):  # the first time also loads and compiles
        start, processor = time.perf_counter(), time.process_time()
        for _ in capture(model, running):
            pass
        used = (time.process_time() - processor) / (time.perf_counter() - start)
    return used


def _attempt(
    name: str, check: Callable[[LoadedModel], tuple[bool, str]], model: LoadedModel
) -> Check:
    try:
        return Check(name, *check(model))
    except CircuitError as error:
        return Check(name, False, error.message)


def _tapped_logits(model: LoadedModel) -> tuple[bool, str]:
    ids = mx.array(IDS[:1])
    plain = model.network(ids)
    seen: list[mx.array] = []
    everywhere = sites_at(["resid_pre", "resid_post"], range(model.n_layers))
    with_taps = _logits_with_taps(model, ids, everywhere, seen)
    mx.eval(plain, with_taps, *seen)
    differing = int(mx.sum(plain != with_taps))
    return differing == 0, f"{differing} of {plain.size} logits differ"


def _logits_with_taps(
    model: LoadedModel, ids: mx.array, sites: list[Site], seen: list[mx.array]
) -> mx.array:
    with recording(model, sites, lambda _, read: seen.append(read(mx.stop_gradient))):
        logits: mx.array = model.network(ids)
    return logits


def _own_tail(model: LoadedModel) -> tuple[bool, str]:
    ids = mx.array(IDS[:1])
    last = Site("resid_post", model.n_layers - 1)
    residuals = hidden_states(model, ids, [last])[last][0]
    error = relative_error(tail_logits(model, residuals), model.network(ids)[0])
    return error < _bound(model), f"relative error {error:.1e}"


def _all_sites(model: LoadedModel) -> tuple[bool, str]:
    names = available_sites(model)
    check_family(model, names)
    seen = hidden_states(model, mx.array(IDS[:1]), sites_at(names, range(model.n_layers)))
    mx.eval(list(seen.values()))
    return True, f"{', '.join(names)} at {model.n_layers} layers"


def _padded_batch(model: LoadedModel) -> tuple[bool, str]:
    error = padding_error(model)
    return error < padding_bound(model), f"relative error {error:.1e}"


def _generation(model: LoadedModel) -> tuple[bool, str]:
    answers = generate(model, [EncodedPrompt(np.array(ids, np.int32)) for ids in IDS], Sampling(4))
    gaps = [_gap(model, ids, answer.ids) for ids, answer in zip(IDS, answers, strict=True)]
    return max(gaps) < padding_bound(model), f"largest gap in logits {max(gaps):.1e}"


def _gap(model: LoadedModel, prompt: list[int], answer: list[int]) -> float:
    """Return how far the chosen tokens' logits are below the largest, relative to that."""
    if not answer:
        return 0.0
    logits = model.network(mx.array([prompt + answer]))[0, len(prompt) - 1 : -1].astype(mx.float32)
    chosen = mx.take_along_axis(logits, mx.array(answer)[:, None], axis=1)[:, 0]
    return float((mx.max(logits, axis=1) - chosen).max() / mx.abs(logits).max())


CHECKS = {
    "tapped logits equal untapped ones bit for bit": _tapped_logits,
    "the tail of the last resid_post equals the logits": _own_tail,
    "every site fires and every block adds up": _all_sites,
    "a right-padded batch equals single prompts": _padded_batch,
    "generation in a batch chooses what full passes choose": _generation,
}


def _bound(model: LoadedModel) -> float:
    return 1e-5 if model.dtype == "float32" else 5e-2
