"""The part that writes a behaviour is the part without which it is gone, exactly; and what is given is read as it is written."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import VOCABULARY, write_checkpoint
from errors import raises

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import DataError, UsageError
from circuit.introspect.ablation.components import ComponentChoice
from circuit.introspect.inputs.cases import criterion_cases, expected_cases, read_cases
from circuit.introspect.questions.ablate import ablate
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.generate import generate
from circuit.model.interventions.ablation import Component, References, ablated, reference_values
from circuit.model.sites.sites import hidden_states
from circuit.stages.rows.prompting import encode
from circuit.stages.steering.neutral import neutral_prompts
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

LAYER, ANSWER = 1, "Q"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A model whose blocks do nothing but that the MLP of one block says ``Q`` after any token, by its neuron 5."""
    folder = write_checkpoint(tmp_path_factory.mktemp("planted"), identity_blocks=True)
    weights = mx.load(str(folder / "model.safetensors"))
    prefix = f"model.layers.{LAYER}"
    rng = np.random.default_rng(0)
    token = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"][ANSWER]
    embedding = rng.standard_normal((VOCABULARY, 32)).astype(np.float32)
    embedding[:, 0], embedding[:, 1] = 3.0, -1.0  # what the neuron reads, and where it writes
    head = 0.1 * rng.standard_normal((VOCABULARY, 32)).astype(np.float32)
    head[:, :2] = 0
    head[token, 1] = 10.0
    gate, up, down = (np.zeros(s, np.float32) for s in ((64, 32), (64, 32), (32, 64)))
    gate[5, 0] = up[5, 0] = 2.0
    down[1, 5] = 20.0
    weights |= {
        "model.embed_tokens.weight": mx.array(embedding),
        "lm_head.weight": mx.array(head),
        f"{prefix}.mlp.gate_proj.weight": mx.array(gate),
        f"{prefix}.mlp.up_proj.weight": mx.array(up),
        f"{prefix}.mlp.down_proj.weight": mx.array(down),
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return load_model(str(folder))


@pytest.mark.parametrize("component", ["mlp", "attention", "both"])
def test_only_the_block_that_writes_it_takes_the_behaviour_away(planted, component):
    cases = criterion_cases(["Hello", "1 + 1 =", "abc"], f"regex:^{ANSWER}")
    ablations = ComponentChoice(component=component, layers="all").ablations(planted)
    study = ablate(planted, cases, ablations, form=RAW, method="zero", max_tokens=1)
    assert study.baseline == [ANSWER] * 3
    rates = {trial.name: trial.rate for trial in study.trials}
    lost = component != "attention"
    assert rates == {f"L{k}": 0.0 if lost and k == LAYER else 1.0 for k in range(3)}
    for trial in study.trials:
        assert (trial.effect[2] < -1) if trial.rate == 0 else trial.effect == [0.0, 0.0, 0.0]


def test_only_the_neuron_that_writes_it_does(planted):
    cases = criterion_cases(["Hello", "abc"], f"regex:^{ANSWER}")
    names = ",".join(f"{LAYER}.{i}" for i in (4, 5, 6))
    ablations = ComponentChoice(neurons=names).ablations(planted)
    study = ablate(planted, cases, ablations, form=RAW, method="zero", max_tokens=1)
    assert [trial.rate for trial in study.trials] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("method", ["zero", "mean"])
def test_every_answer_is_what_the_ablated_model_generates(method):
    """Most answers are not generated again but found to stand; the result is the same."""
    model = load_model("tiny")
    texts = [f"{a} + {b} = " for a in (11, 30, 52) for b in (4, 27, 40)]
    ablations = ComponentChoice(component="mlp", layers="all").ablations(model)
    cases = criterion_cases(texts, "number")
    study = ablate(model, cases, ablations, form=RAW, method=method, max_tokens=5)
    encoded = encode(model, texts, RAW)
    means = reference_values(
        model, neutral_prompts(model, RAW), [c for one in ablations for c in one.components]
    )
    for trial, ablation in zip(study.trials, ablations, strict=True):
        with ablated(model, ablation.components, method, means):
            alone = [generate(model, [each], Sampling(5))[0].text for each in encoded]
        assert trial.outputs == alone
    outputs = [trial.outputs for trial in study.trials]
    assert any(each != study.baseline for each in outputs)  # some were generated anew,
    pairs = [(a, b) for each in outputs for a, b in zip(each, study.baseline, strict=True)]
    assert any(a == b for a, b in pairs)  # and some stood


def test_prompts_that_fail_anyway_are_left_out(planted):
    cases = [*criterion_cases(["a", "b"], f"regex:^{ANSWER}"), *criterion_cases(["c"], "regex:^Z")]
    ablations = ComponentChoice(component="mlp", layers="all").ablations(planted, multi=True)
    (trial,) = (
        study := ablate(planted, cases, ablations, form=RAW, method="zero", max_tokens=1)
    ).trials
    assert (study.n_excluded, trial.passes) == (1, [False, False, None])
    assert trial.name == "L0+L1+L2"
    none = ablate(planted, cases[2:], ablations, form=RAW, method="zero", max_tokens=1).trials[0]
    assert (none.rate, none.interval, none.effect) == (None, None, None)
    assert none.delta == [None]


def test_the_effect_is_that_of_the_prompts_that_pass(planted):
    """A prompt that the model fails changes neither the mean nor its interval, and stands as None among the deltas."""
    passing = criterion_cases(["a", "b", "Hello"], f"regex:^{ANSWER}")
    cases = [passing[0], *criterion_cases(["c", "d"], "regex:^Z"), *passing[1:]]
    ablations = ComponentChoice(component="mlp", layers="all").ablations(planted)
    options = {"form": RAW, "method": "zero", "max_tokens": 1}
    whole = ablate(planted, cases, ablations, **options)
    alone = ablate(planted, passing, ablations, **options)
    for trial, own in zip(whole.trials, alone.trials, strict=True):
        assert [k for k, each in enumerate(trial.delta) if each is None] == [1, 2]
        kept = [each for each in trial.delta if each is not None]
        np.testing.assert_allclose(kept, own.delta, atol=1e-5)
        np.testing.assert_allclose(trial.effect, own.effect, atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "mlp", "head", "neuron"])
def test_what_stands_in_its_place(llama, kind):
    component = Component(kind, 1, 2 if kind in ("head", "neuron") else None)
    prompts = encode(llama, ["Hello there", "A b c"], RAW)
    references = reference_values(llama, prompts, [component])
    rows = references.values[component.site]
    assert len(rows) == sum(len(p.ids) - 1 for p in prompts)
    width = {"head": 8, "neuron": 1}.get(kind)
    part = slice(2 * width, 3 * width) if width else slice(None)
    ids = mx.array([[3, 1, 4, 1, 5]])
    site = (
        component.site
        if kind in ("attention", "mlp")
        else Site("attn_out" if kind == "head" else "mlp_out", 1)
    )

    def state(method):
        with ablated(llama, [component], method, references):
            return np.array(hidden_states(llama, ids, [site])[site])[0]

    plain = np.array(hidden_states(llama, ids, [site])[site])[0]
    if kind in ("attention", "mlp"):
        assert not state("zero").any()
        np.testing.assert_allclose(state("mean"), np.tile(rows.mean(axis=0), (5, 1)), atol=1e-6)
        assert all((np.abs(rows - each).max(axis=1) < 1e-6).any() for each in state("resample"))
    else:  # a mean equal to the value changes nothing; another one does
        own = np.array(hidden_states(llama, ids, [component.site])[component.site])[0]
        fixed = References({component.site: np.tile(own[:1], (4, 1))})
        with ablated(llama, [component], "mean", fixed):
            found = np.array(hidden_states(llama, ids, [site])[site])[0]
        np.testing.assert_allclose(found[0], plain[0], atol=1e-5)
        assert np.abs(found[1:] - plain[1:]).max() > 1e-4
        assert own[:, part].shape[1] == width


def test_batched_answers_are_those_of_single_prompts(llama):
    cases = criterion_cases(["Hello", "A longer one", "x"], "regex:.")
    ablations = ComponentChoice(component="mlp", layers="0,2").ablations(llama)
    whole = ablate(llama, cases, ablations, form=RAW, method="zero", max_tokens=5)
    for i, case in enumerate(cases):
        alone = ablate(llama, [case], ablations, form=RAW, method="zero", max_tokens=5)
        assert [t.outputs[0] for t in alone.trials] == [t.outputs[i] for t in whole.trials]


def test_cases_as_they_are_written():
    cases = expected_cases("10*10=:100|at 10:30 = :ten|a = :1\\:2")
    assert [(c.prompt, c.criterion_name) for c in cases] == [
        ("10*10=", "100"),
        ("at 10:30 = ", "ten"),
        ("a = ", "1:2"),
    ]
    for bad in ("10*10=", "10*10=:", ":100", ""):
        with raises(UsageError, "not-a-case"):
            expected_cases(bad)
    assert read_cases("x", "x", "a:b")[0][0].prompt == "a"
    with raises(UsageError, "no-case"):
        read_cases("a", None, None)
    with pytest.raises(UsageError, match="needs prompts with an expected text"):
        criterion_cases(["a"], "expected")
    with pytest.raises(UsageError, match="not a regular expression"):
        criterion_cases(["a"], "regex:[")


def test_an_expected_text_is_no_name_of_a_criterion():
    """Expected texts are whole words, also where a criterion has that name."""
    listed = expected_cases("The film is lovely. This is:positive")
    templates = {"prompts": [{"text": "The film is lovely. This is", "expected": "positive"}]}
    own = criterion_cases(PromptSet.model_validate({"name": "films", **templates}), "expected")
    for (case,) in (listed, own):
        assert case.is_met(" positive.")
        assert not case.is_met(" good.")


def test_layers_of_heads_and_neurons_count_from_the_end(llama):
    named = ComponentChoice(heads="-1.3, 0.1", neurons="-3.17").ablations(llama)
    assert [each.name for each in named] == ["head.2.3", "head.0.1", "neuron.0.17"]


def test_parts_that_there_are_not(llama):
    for code, choice in (
        ("layer-out-of-range", {"component": "both", "layers": "9"}),
        ("unknown-component", {"component": "all", "layers": "0"}),
        ("not-a-head", {"heads": "0"}),
        ("not-a-neuron", {"neurons": "0.x"}),
        ("not-a-head", {"heads": "1.0,,"}),
        ("conflicting-options", {"layers": "0", "heads": "1.0"}),
        ("conflicting-options", {"component": "mlp", "neurons": "1.0"}),
    ):
        with raises(UsageError, code):
            ComponentChoice(**choice).ablations(llama)
    cases = criterion_cases(["a"], "b")
    for heads, neurons, code in (
        ("0.4", None, "component-out-of-range"),
        ("-4.0", None, "layer-out-of-range"),
        (None, "2.64", "component-out-of-range"),
    ):
        ablations = ComponentChoice(heads=heads, neurons=neurons).ablations(llama)
        with raises(UsageError, code):
            ablate(llama, cases, ablations, form=RAW)
    with raises(DataError, "no-prompts"):
        ablate(llama, [], [], form=RAW)
    with raises(UsageError, "unknown-ablation-method", method="noise"):
        ablate(
            llama,
            cases,
            ComponentChoice(component="mlp", layers="0").ablations(llama),
            form=RAW,
            method="noise",
        )
