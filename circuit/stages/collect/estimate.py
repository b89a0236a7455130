"""``collect --dry-run``: what a collection would cost, before it is paid for.

    tokens        of all prompts, those that run (a shared prefix, which has run by now, once), and
                  the share of padding in batches
    FLOPs         of the batches: 2 · weights of the blocks up to the last wanted one · tokens that
                  run, padding included, and 4 · T · T_keys / 2 · n_heads · head_dim for each
                  layer's attention; the head does not run
    archive       the bytes of the file, exactly
    memory        the weights, and what the batches that run at once take, from one measured pass
    seconds       the time that one batch of middle length took here, per FLOP, times all FLOPs
    answering     with --generate: the time that one unit of prompts took for some tokens here,
                  extrapolated to answers of full length, which is the most that it can be

Everything but the times and ``memory`` follows from the prompts and the model.
"""

import time
from dataclasses import dataclass
from typing import Any

from circuit.stages.collect.answers import units_of
from circuit.stages.collect.collection import Collection, Layout
from circuit.values.sampling import Sampling

SAMPLED_TOKENS = 9


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The cost of a collection; sizes in bytes."""

    prompts: int
    tokens: int
    shortest: int
    longest: int
    shared_prefix: int
    tokens_to_run: int
    padding: float
    batches: int
    batch_tokens: int
    flops: float
    archive: int
    weights: int
    working: int
    seconds: float
    answering: float


def estimate(job: Collection, number: int = 1, count: int = 1) -> Estimate:
    """Lay out the work of ``job``, or of one shard of it, run one batch, and extrapolate."""
    from circuit.model.forward.batches import padding_waste
    from circuit.model.forward.budget import bytes_per_token, weight_bytes

    layout = job.layout(number, count)
    plan = layout.plan
    lengths = plan.ids.lengths
    to_run = lengths - plan.prefix
    flops = _flops(job, plan, range(len(plan.batches)))
    per_token = bytes_per_token(job.model, plan.ids, job.sites, job.positions)
    working = per_token * layout.circumstances["batch_tokens"]
    return Estimate(
        prompts=len(lengths),
        tokens=int(lengths.sum()),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        shared_prefix=plan.prefix,
        tokens_to_run=int(to_run.sum()) + plan.prefix,
        padding=padding_waste(to_run, plan.batches),
        batches=len(plan.batches),
        batch_tokens=layout.circumstances["batch_tokens"],
        flops=flops,
        archive=job.archive_bytes(layout),
        weights=weight_bytes(job.model),
        working=int(working * min(job.model.in_flight, len(plan.batches))),
        seconds=_seconds(job, layout, flops),
        answering=_answering_seconds(job, layout),
    )


def _seconds(job: Collection, layout: Layout, flops: float) -> float:
    """Run the middle batches, as many as run at once, twice; extrapolate from the second time."""
    from circuit.model.forward.capture import capture

    n, together = len(layout.plan.batches), job.model.n_streams
    middle = max(0, min(n // 2, n - together))
    sample = range(middle, min(n, middle + together))
    others = set(range(n)) - set(sample)
    for _ in range(2):
        started = time.perf_counter()
        list(capture(job.model, layout.plan, without=others))
        seconds = time.perf_counter() - started
    return seconds * flops / _flops(job, layout.plan, sample)


def _answering_seconds(job: Collection, layout: Layout) -> float:
    """Answer one unit of middle length, shortly, and extrapolate; 0 where nothing is answered."""
    from circuit.model.forward.generate import generate, may_be_ragged

    if (asked := job.recording.answers) is None:
        return 0.0
    units = units_of([len(each.ids) for each in layout.encoded])
    unit = [layout.encoded[i] for i in units[len(units) // 2]]
    ragged, taken = may_be_ragged(job.model), {}
    for n in (1, 1, min(asked.max_tokens, SAMPLED_TOKENS)):  # the first time warms up
        started = time.perf_counter()
        made = generate(job.model, unit, Sampling(n), ragged=ragged)
        steps = max(1, *(len(each.ids) for each in made))
        taken[steps] = time.perf_counter() - started
    longest = max(taken)
    each = (taken[longest] - taken[1]) / (longest - 1) if longest > 1 else 0.0
    whole = taken[1] + max(0.0, each) * (asked.max_tokens - 1)
    return whole * len(layout.encoded) / len(unit)


def _flops(job: Collection, plan: Any, units: range) -> float:
    """Count the operations of some batches, padding included."""
    from circuit.model.forward.budget import attention_width, block_weights

    last = max(site.layer for site in job.sites)
    weights, width = block_weights(job.model, last), attention_width(job.model) * (last + 1)
    lengths, before = plan.ids.lengths, plan.prefix

    def run(rows: Any) -> float:
        tokens = int(lengths[rows].max()) - before
        attended = tokens * before + tokens * tokens / 2
        return float(len(rows) * (2 * weights * tokens + 4 * attended * width))

    return sum(run(plan.batches[unit]) for unit in units)
