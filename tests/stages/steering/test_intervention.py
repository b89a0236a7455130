"""What acts on the model: sources as they are written, strength rules, weights, conditions."""

import numpy as np
import pytest
from errors import raises
from hypothesis import given
from hypothesis import strategies as st
from steering import answered, direction, outputs, states

from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import write_directions, write_npz
from circuit.artifacts.steering_files.formats import formats
from circuit.errors import ArtifactError, ModelError, UsageError
from circuit.stages.options import ActionOptions
from circuit.stages.probes.saved import SavedProbe
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.condition import Condition
from circuit.stages.steering.intervention import Intervention, Term, site_of
from circuit.stages.steering.rules import RULES, check_action, find_rule, resolve
from circuit.stages.steering.source import Source, parse_source
from circuit.values.prompt_format import RAW
from circuit.values.requests import parameters
from circuit.values.sites import Site

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
    for term in source.terms(3):
        assert np.array_equal(term.plane, held[-1].vector)
    terms = Source(tmp_path / "d.safetensors", "d", "0,2", 0.5).terms(3)
    assert [(term.direction.layer, term.weight) for term in terms] == [(0, 0.5), (2, 0.5)]
    with raises(UsageError, "layer-not-in-file", layer=1):
        Source(tmp_path / "d.safetensors", "d", "all").terms(3)
    with raises(UsageError, "several-directions"):
        Source(tmp_path / "d.safetensors").terms(3)
    for file_format, layers in (("gguf", [1, 2]), ("svec", [1])):
        path = tmp_path / f"many.{file_format}"
        every = [direction(llama, layer, seed=layer) for layer in range(3)]
        formats()[file_format].write(path, every)
        assert [term.direction.layer for term in Source(path).terms(3)] == layers
        assert [term.direction.layer for term in Source(path, layer="2").terms(3)] == [2]
    write_npz(tmp_path / "one.npz", direction(llama))
    everywhere = Source(tmp_path / "one.npz", layer="all").terms(3)
    assert [term.direction.layer for term in everywhere] == [0, 1, 2]


# ------------------------------------------------------------------------- what a unit is


@pytest.mark.parametrize(("rule", "length"), [("raw", 2.0), ("projection", 1.25)])
def test_a_unit_of_a_rule_is_that_long(identity_llama, rule, length):
    model = identity_llama
    at = direction(model, extra={"along": 1.25}, method="lda")
    plain = states(model, Intervention.of(at), 0.0, 1)
    moved = states(model, resolve(model, [Term(at)], ActionOptions(rule=rule), RAW), 3.0, 1)
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
    (term,) = resolve(llama, [Term(direction(llama))], ActionOptions(rule="median-norm"), RAW).terms
    norms = [
        np.linalg.norm(
            np.array(hidden_states(llama, mx.array(p.ids[None]), [site])[site])[0], axis=-1
        )
        for p in neutral_prompts(llama, RAW)
    ]
    assert term.unit == pytest.approx(np.median(np.concatenate([each[1:] for each in norms])))


def test_kl_counts_in_units_of_c_star(llama):
    found = resolve(llama, [Term(direction(llama))], ActionOptions(rule="kl:0.02"), RAW)
    assert 0 < found.factor < 1
    assert found.terms[0].unit is None
    (steering,) = found.at(2.0)
    assert steering.coefficient == pytest.approx(2 * found.factor)


def test_what_a_rule_needs_and_is_not_there(llama):
    with raises(UsageError, "no-class-distance", direction="d"):
        terms = [Term(direction(llama, method="lda"))]
        resolve(llama, terms, ActionOptions(rule="projection"), RAW)
    for rule in ("kl:0", "kl:x", "kl:", "kl:inf", "kl:nan", "kl:-1", "kl"):
        with raises(UsageError, "rule-without-number", rule=rule):
            find_rule(rule)
    for rule in ("rms", "norm:2", ""):
        with raises(UsageError, "unknown-rule", rule=rule):
            check_action(ActionOptions(rule=rule))


def test_the_help_names_every_rule_and_operator():
    from circuit.model.interventions.operators import OPERATORS

    helps = {each.name: each.option.help for each in parameters(ActionOptions)}
    assert all((RULES[name].example or name) in helps["rule"] for name in RULES)
    assert all(name in helps["operator"] for name in OPERATORS)


@pytest.mark.parametrize("name", RULES)
def test_operators_that_take_a_fraction_have_no_unit(name):
    rule = RULES[name].example or name
    action = ActionOptions(operator="ablate", rule=rule)
    if RULES[name].fits_fractions:
        check_action(action)
    else:
        with raises(UsageError, "option-not-applicable"):
            check_action(action)


def test_the_largest_coefficient_of_an_operator_is_checked_on_both_sides():
    turning = ActionOptions(operator="angular")
    check_action(turning, [-1.0, 1.0])
    with raises(UsageError, "coefficient-out-of-range"):
        check_action(turning, [0.5, -2.0])


def test_a_direction_of_the_embedding_acts_on_what_any_block_reads(llama):
    from dataclasses import replace

    at = replace(direction(llama, layer=2), site="embed")
    assert site_of(at) == Site("resid_pre", 2)


def test_weights_multiply_and_directions_add_up(identity_llama):
    model = identity_llama
    a, b = direction(model, seed=1), direction(model, seed=2)
    both = Intervention(
        (Term(a, 0.5, unit=1.0), Term(b, -2.0, unit=1.0)), ActionOptions(rule="raw")
    )
    plain = states(model, both, 0.0, 1)
    moved = states(model, both, 3.0, 1)
    np.testing.assert_allclose(
        moved - plain, np.tile(1.5 * a.vector - 6 * b.vector, (5, 1)), atol=1e-5
    )
    other = both.with_vectors([b.vector, a.vector])
    assert [term.weight for term in other.terms] == [0.5, -2.0]
    assert other.described() != both.described()


# --------------------------------------------------------------------------- conditions


def made_probe(model, layer=1, slope=1.0, bias=0.0, seed=5):
    at = direction(model, layer, "p", seed, extra={"slope": slope, "bias": bias}, method="probe")
    return SavedProbe("p", layer, ["no", "yes"], [at])


def test_only_prompts_on_which_the_probe_fires_are_steered(llama):
    texts = ["Hello", "100 - 37 = ", "What is it?", "A longer prompt than that"]
    probe = made_probe(llama)
    logits = Condition(probe).logits(llama, encode(llama, texts, RAW))
    threshold = float(np.sort(logits)[1:3].mean())
    every, plain = (outputs(answered(llama, direction(llama), texts, [c]), c) for c in (3.0, 0.0))
    condition = Condition(probe, threshold)
    some = answered(llama, direction(llama), texts, [3.0], condition=condition)
    fired = [each.steered for each in some.generations]
    assert fired == (logits > threshold).tolist()
    assert sum(fired) == 2
    expected = [a if f else b for a, b, f in zip(every, plain, fired, strict=True)]
    assert outputs(some, 3.0) == expected


def test_a_probe_of_another_shape_is_refused(llama):
    with raises(ModelError, "other-model", layer=7):
        Condition(made_probe(llama, layer=7)).logits(llama, encode(llama, ["a"], RAW))


def test_a_condition_that_cannot_be_read(tmp_path):
    with raises(ArtifactError, "file-not-found"):
        Condition.parse(f"{tmp_path}/none.safetensors")
    with raises(UsageError, "unknown-key", key="level"):
        Condition.parse(f"{tmp_path}/none.safetensors,level=3")
