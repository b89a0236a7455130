"""What acts on the model: sources as they are written, what coefficient 1 is, weights, conditions."""

import numpy as np
import pytest
from checkpoints import unit_vector
from circuit.stages.steering.setup import Setup
from hypothesis import given
from hypothesis import strategies as st

from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import Direction, write_directions, write_npz
from circuit.errors import CircuitError, ModelError, UsageError
from circuit.stages.probes.saved import SavedProbe
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.condition import Condition
from circuit.stages.steering.from_prompts import Pair
from circuit.stages.steering.intervention import Intervention, Manner, Part, kl_target
from circuit.stages.steering.source import Source, parse_source
from circuit.stages.steering.steer import Job, steer
from circuit.stages.steering.strength import resolve
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

SHORT = Sampling(max_tokens=6)


def direction(model, layer=1, name="d", seed=0, norm=2.0, **fields):
    identity = model.identity
    vector = unit_vector(model.d_model, seed)
    return Direction(name, "resid_post", layer, vector, norm, model=identity, **fields)


def states(model, intervention, coefficient, layer):
    import mlx.core as mx

    from circuit.model.sites.sites import hidden_states

    site = Site("resid_post", layer)
    with intervention.steered(model, coefficient):
        return np.array(hidden_states(model, mx.array([[3, 1, 4, 1, 5]]), [site])[site])[0]


# ------------------------------------------------------------------------------- sources


@given(
    st.text("abc=,./", min_size=1, max_size=12).filter(
        lambda t: "=" not in t.split(",", 1)[-1] or "," not in t
    ),
    st.sampled_from([None, "0", "50%", "0,2", "1-3", "all"]),
    st.sampled_from([None, "happy", "category:a b"]),
    st.sampled_from([None, 0.5, -2.0]),
)
def test_a_source_reads_back_what_was_written(file, layer, name, weight):
    fields = {"layer": layer, "name": name, "weight": weight}
    text = ",".join([file, *(f"{k}={v}" for k, v in fields.items() if v is not None)])
    found = parse_source(text)
    assert (str(found.file), found.layer, found.name) == (str(type(found.file)(file)), layer, name)
    assert found.weight == (1.0 if weight is None else weight)


def test_directions_of_several_layers(llama, tmp_path):
    held = [direction(llama, layer, seed=layer) for layer in (0, 2)]
    held.append(direction(llama, 2, "other", seed=9))
    write_directions(
        tmp_path / "d", held, parameters={}, inputs=[], run=Run.since(0), model=llama.identity
    )
    source = Source(tmp_path / "d.safetensors", "d", "0,2", plane="other")
    for part in source.parts(3):
        assert np.array_equal(part.plane, held[-1].vector)
    parts = Source(tmp_path / "d.safetensors", "d", "0,2", 0.5).parts(3)
    assert [(p.direction.layer, p.weight) for p in parts] == [(0, 0.5), (2, 0.5)]
    with pytest.raises(UsageError, match="no direction at layer 1"):
        Source(tmp_path / "d.safetensors", "d", "all").parts(3)
    write_npz(tmp_path / "one.npz", direction(llama))
    assert [p.direction.layer for p in Source(tmp_path / "one.npz", layer="all").parts(3)] == [
        0,
        1,
        2,
    ]


def test_name_and_layer_belong_to_one_direction(tmp_path):
    with pytest.raises(UsageError, match="belong to one direction"):
        Setup.of(["a.npz", "b.npz"], None, None, "3")
    with pytest.raises(UsageError, match="given twice"):
        Setup.of(["a.npz"], Pair("a", "b"), None, None)
    with pytest.raises(UsageError, match="no direction is given"):
        Setup.of([], None, None, None)
    assert Setup.of(["a.npz,layer=1"], None, None, "0").sources[0].layer == "0"


# ------------------------------------------------------------------------- what a unit is


@pytest.mark.parametrize(("rule", "length"), [("raw", 2.0), ("projection", 1.25)])
def test_a_unit_of_a_rule_is_that_long(identity_llama, rule, length):
    model = identity_llama
    at = direction(model, extra={"along": 1.25}, method="lda")
    plain = states(model, Intervention.of(at), 0.0, 1)
    moved = states(model, resolve(model, [Part(at)], Manner(rule), RAW), 3.0, 1)
    np.testing.assert_allclose(moved - plain, 3 * length * np.tile(at.vector, (5, 1)), atol=1e-5)


def test_projection_moves_one_mean_to_the_other(identity_llama):
    """Along v, and by the whole difference where v is the difference of the means."""
    from circuit.methods.directions import fit_direction

    model, rng = identity_llama, np.random.default_rng(0)
    positive, negative = rng.standard_normal((2, 30, model.d_model))
    positive = positive + 1
    for method in ("mean_diff", "lda", "logistic"):
        fit = fit_direction(method, positive, negative)
        gap = positive.mean(axis=0) - negative.mean(axis=0)
        moved = negative.mean(axis=0) + fit.along * fit.vector
        assert moved @ fit.vector == pytest.approx(positive.mean(axis=0) @ fit.vector, rel=1e-4)
        if method == "mean_diff":
            np.testing.assert_allclose(fit.along * fit.vector, gap, atol=1e-4)


def test_the_median_norm_is_that_of_neutral_prompts_without_their_first_token(llama):
    import mlx.core as mx

    from circuit.model.sites.sites import hidden_states
    from circuit.stages.steering.neutral import neutral_prompts

    site = Site("resid_post", 1)
    (part,) = resolve(llama, [Part(direction(llama))], Manner("median-norm"), RAW).parts
    norms = [
        np.linalg.norm(
            np.array(hidden_states(llama, mx.array(p.ids[None]), [site])[site])[0], axis=-1
        )
        for p in neutral_prompts(llama, RAW)
    ]
    assert part.unit == pytest.approx(np.median(np.concatenate([each[1:] for each in norms])))


def test_what_a_rule_needs_and_is_not_there(llama):
    with pytest.raises(UsageError, match="does not say how far"):
        resolve(llama, [Part(direction(llama, method="lda"))], Manner("projection"), RAW)
    for rule in ("kl:0", "kl:x", "kl:", "kl:inf", "kl:nan", "kl:-1"):
        with pytest.raises(UsageError, match="names no KL divergence"):
            kl_target(rule)
    with pytest.raises(UsageError, match="no strength rule `rms`"):
        Manner("rms").check()


def test_weights_multiply_and_directions_add_up(identity_llama):
    model = identity_llama
    a, b = direction(model, seed=1), direction(model, seed=2)
    both = Intervention((Part(a, 0.5, unit=1.0), Part(b, -2.0, unit=1.0)), Manner("raw"))
    plain = states(model, both, 0.0, 1)
    moved = states(model, both, 3.0, 1)
    np.testing.assert_allclose(
        moved - plain, np.tile(1.5 * a.vector - 6 * b.vector, (5, 1)), atol=1e-5
    )
    other = both.with_vectors([b.vector, a.vector])
    assert [part.weight for part in other.parts] == [0.5, -2.0]
    assert other.described() != both.described()


# --------------------------------------------------------------------------- conditions


def made_probe(model, layer=1, slope=1.0, bias=0.0, seed=5):
    at = direction(model, layer, "p", seed, extra={"slope": slope, "bias": bias}, method="probe")
    return SavedProbe("p", layer, ["no", "yes"], [at])


def test_only_prompts_on_which_the_probe_fires_are_steered(llama):
    texts = ["Hello", "100 - 37 = ", "What is it?", "A longer prompt than that"]
    encoded = encode(llama, texts, RAW)
    probe = made_probe(llama)
    logits = Condition(probe).logits(llama, encoded)
    threshold = float(np.sort(logits)[1:3].mean())
    at = Intervention.of(direction(llama))
    every, _ = steer(llama, Job(at, texts, [3.0], RAW, SHORT))
    plain, _ = steer(llama, Job(at, texts, [0.0], RAW, SHORT))
    job = Job(at, texts, [3.0], RAW, SHORT, condition=Condition(probe, threshold))
    some, _ = steer(llama, job)
    fired = [g["steered"] for g in some["generations"]]
    assert fired == (logits > threshold).tolist()
    assert sum(fired) == 2
    expected = [
        (a if f else b)["output"]
        for a, b, f in zip(every["generations"], plain["generations"], fired, strict=True)
    ]
    assert [g["output"] for g in some["generations"]] == expected


def test_a_probe_of_another_shape_is_refused(llama, identity_llama):
    with pytest.raises(ModelError, match="does not fit"):
        Condition(made_probe(llama, layer=7)).check(llama)


def test_a_condition_that_cannot_be_read(tmp_path, llama):
    write_npz(tmp_path / "d.npz", direction(llama))
    for text, words in {
        f"{tmp_path}/none.safetensors": "there is no file",
        f"{tmp_path}/none.safetensors,level=3": "is not one of probe, layer, above",
    }.items():
        with pytest.raises(CircuitError, match=words):
            Condition.parse(text)


# ------------------------------------------------------------------------------- results


def test_a_text_that_falls_into_repetition_is_flagged(llama):
    job = Job(
        Intervention.of(direction(llama)), ["Hello"], [0.0, 40.0], RAW, Sampling(max_tokens=30)
    )
    results, _ = steer(llama, job)
    from circuit.methods.steering.coherence import collapsed
    from circuit.model.forward.generate import generate
    from circuit.model.interventions.steering import steered

    with steered(llama, job.intervention.steerings(40.0)):
        ids = generate(llama, encode(llama, ["Hello"], RAW), Sampling(30))[0].ids
    assert results["generations"][1]["collapsed"] == collapsed(ids)


def test_an_answer_that_is_shown_is_the_one_that_is_written(llama):
    pieces = []
    job = Job(Intervention.of(direction(llama)), ["Hello"], [2.0], RAW, SHORT)
    shown, _ = steer(llama, job, show=pieces.append)
    written, _ = steer(llama, job)
    assert shown == written
    assert "".join(pieces) == written["generations"][0]["output"]
