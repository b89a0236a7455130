"""Steering from Python: the documented example runs, and gives what the functions below it give."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from errors import raises

import circuit
from circuit import api, create_contrast_vector, generate_with_steering
from circuit.errors import CircuitError
from circuit.model.forward.generate import generate
from circuit.model.interventions.steering import Steering, steered
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling
from circuit.values.sites import Site

README = (Path(__file__).parents[1] / "README.md").read_text()
PROMPTS = ["red green ", "blue", "white black"]


def example() -> str:
    """Return the indented example of the module's docstring."""
    lines = (api.__doc__ or "").splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("    ") or not line)


@pytest.mark.parametrize(
    "code", [example(), *re.findall(r"```python\n(.*?)```", README, re.DOTALL)]
)
def test_the_examples_run(code, capsys):
    exec(code, {})
    assert capsys.readouterr().out.strip()


def test_import_costs_nothing_and_the_names_are_there():
    code = (
        "import sys, circuit\n"
        "heavy = {'mlx', 'numpy', 'pydantic', 'typing', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert callable(circuit.load) and 'mlx' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(circuit.__all__) == set(api.__all__)
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        _ = circuit.nothing


@pytest.fixture(scope="module")
def vector(llama):
    return create_contrast_vector(llama, "red ", "blue", layer=1)


def entry(vector, coefficient=2.0, **more):
    return {"vector": vector, "layer": 1, "coefficient": coefficient, **more}


def test_coefficient_1_adds_the_difference_of_the_prompts(llama, vector):
    found = generate_with_steering(llama, PROMPTS, [entry(vector)], max_new_tokens=8)
    encoded = encode(llama, PROMPTS, RAW)
    with steered(llama, [Steering(Site("resid_post", 1), vector.vector, 2.0, unit=vector.norm)]):
        expected = generate(llama, encoded, Sampling(8))
    assert [(each.text, list(each.ids)) for each in found] == [(e.text, e.ids) for e in expected]
    assert [each.prompt for each in found] == PROMPTS
    assert all(each.coherence.kl > 0 for each in found)


def test_an_array_is_added_as_it_stands(llama, vector):
    array = vector.vector * np.float32(vector.norm)
    a, b = (
        generate_with_steering(llama, "red", [entry(v)], max_new_tokens=8) for v in (array, vector)
    )
    assert a.text == b.text


def test_coefficient_0_and_no_vectors_are_the_model_as_it_is(llama, vector):
    none = generate_with_steering(llama, "red", max_new_tokens=8, unsteered=True)
    zero = generate_with_steering(llama, "red", [entry(vector, 0)], max_new_tokens=8)
    moved = generate_with_steering(
        llama, "red", [entry(vector, 9)], max_new_tokens=8, unsteered=True
    )
    assert none.text == none.unsteered == zero.text == moved.unsteered != moved.text
    assert (none.coherence.kl, zero.coherence.kl) == (0, 0)


def test_a_prompt_alone_answers_as_in_a_list(llama, vector):
    together = generate_with_steering(llama, PROMPTS, [entry(vector)], max_new_tokens=8)
    alone = [
        generate_with_steering(llama, each, [entry(vector)], max_new_tokens=8) for each in PROMPTS
    ]
    assert [each.ids for each in together] == [each.ids for each in alone]


def test_one_prompt_makes_a_vector_too(llama):
    single = create_contrast_vector(llama, positive_prompt="red ", layer=0)
    assert (single.method, single.layer, single.negative_label) == ("single", 0, None)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"layer": 1, "coefficient": 2}, "vector-missing"),
        ({"vector": np.full(32, np.nan), "layer": 1}, "not-a-direction"),
        ({"vector": np.zeros(32), "layer": 1}, "not-a-direction"),
        ({"vector": np.ones(31), "layer": 1}, "widths-differ"),
        ({"vector": np.ones((2, 16)), "layer": 1}, "not-a-direction"),
        ({"vector": np.ones(32)}, "layer-missing"),
        ({"vector": np.ones(32), "layer": 3}, "layer-out-of-range"),
        ({"vector": np.ones(32), "layer": True}, "layer-not-a-number"),
        ({"vector": np.ones(32), "layer": 1, "coefficient": "much"}, "not-a-number"),
        ({"vector": np.ones(32), "layer": 1, "coefficient": float("nan")}, "not-a-number"),
        ({"vector": np.ones(32), "layer": 1, "coeficient": 1}, "unknown-key"),
        ({"vector": np.ones(32), "layer": 1, "rule": "volume"}, "unknown-rule"),
        ({"vector": np.ones(32), "layer": 1, "scope": "some"}, "unknown-scope"),
    ],
)
def test_each_mistake_is_named(llama, given, code):
    with raises(CircuitError, code):
        generate_with_steering(llama, "red", [given])


def test_an_unknown_setting_of_sampling_is_an_error(llama):
    with pytest.raises(TypeError, match="heat"):
        generate_with_steering(llama, "red", heat=1)


def test_layers_are_ordered_by_how_much_likelier_they_make_the_word(llama):
    found = circuit.find_best_layers_for_steering(
        llama,
        positive_prompt="I am helpful and honest.",
        negative_prompt="I am unhelpful and deceptive.",
        test_prompt=["Tell me about...", "What is it?"],
        target_word="a",
        layers="0,2",
        kl=0.2,
    )
    assert sorted(each.layer for each in found) == [0, 2]
    assert found[0].gain >= found[1].gain
    assert all(each.low <= each.gain <= each.high for each in found)
