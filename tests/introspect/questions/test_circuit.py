"""The planted circuit is found and nothing else is needed; random sets do not do; what is estimated is what is measured where it is linear."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from errors import raises
from in_process import invoke

from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.errors import DataError, UsageError
from circuit.introspect.circuits.faithfulness import NodeEffect, Search
from circuit.introspect.circuits.pictures import draw_circuit, write_dot
from circuit.introspect.circuits.search import random_sets, split
from circuit.introspect.questions.circuit import shared_by_random
from circuit.methods.steering.shortest_prefix import prune, shortest_prefix
from circuit.model.patching.nodes import Behaviour, all_nodes, node_means, shared_ends
from circuit.model.patching.patching import logit_difference
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW

ROOT = Path(__file__).parents[3]


def labelled(texts, name="words", labels=("without", "with")):
    prompts = [
        Prompt(text=text, label=labels[label], group=f"{labels[label]}{i}")
        for i, (text, label) in enumerate(texts)
    ]
    return PromptSet(name=name, labels=labels, prompts=tuple(prompts))


@pytest.fixture(scope="module")
def words():
    beginnings = ["x", "yy", "cde", "fgh", "uvw", "st", "jk", "lm"]
    return labelled([(f"{x}{w}.", int(w == "a")) for x in beginnings for w in "ab"])


def test_the_planted_parts_are_found_and_random_ones_do_not_do(chain, words, tmp_path):
    found = Search(chain, words, RAW, wrong="Z").run()
    assert (found.answer, found.circuit) == ("Q", ["embed", "head.0.1", "mlp.1"])
    assert found.faithfulness[0] == pytest.approx(1, abs=0.02)
    assert found.without[0] == pytest.approx(0, abs=0.02)
    assert found.random_band[0] < 0.05
    assert np.mean(np.array(found.random) < 0.05) > 0.5  # one in twelve has both by chance
    effects = {node.name: node.effect for node in found.nodes}
    others = [v for k, v in effects.items() if k not in found.circuit and v is not None]
    assert max(map(abs, others)) < 1e-4
    assert effects["mlp.1"] == pytest.approx(1, abs=0.02)
    write_dot(found, tmp_path / "c.dot")
    draw_circuit(found, tmp_path / "c.png")
    text = (tmp_path / "c.dot").read_text()
    assert text.startswith("digraph circuit {")
    assert '"head.0.1" -> "mlp.1";' in text
    assert '"mlp.1" -> "logits";' in text
    assert "est." not in text
    guessed = [replace(node, effect=None) for node in found.nodes]
    write_dot(replace(found, nodes=guessed), tmp_path / "estimated.dot")
    assert (tmp_path / "estimated.dot").read_text().count(' est."];') == 3


def test_keeping_everything_is_the_model_and_nothing_tells_no_prompt_apart(llama):
    texts = ["hello you", "jelly you", "horse you"]
    ids = [prompt.ids for prompt in encode(llama, texts, RAW)]
    run = Behaviour(llama, ids, logit_difference(5, 6), all_nodes(llama))
    means = node_means(run)
    assert (means.prefix, means.suffix) == (1, 4)
    plain = run.scores(means)
    np.testing.assert_allclose(run.scores(means, run.nodes), plain, atol=1e-5)
    nothing = run.scores(means, ())
    np.testing.assert_allclose(nothing, nothing[0], atol=1e-5)
    assert np.ptp(plain) > 1e-3


def test_a_batch_of_unequal_prompts_gives_what_each_gives_alone(llama):
    ids = [prompt.ids for prompt in encode(llama, ["ab.", "abcd.", "x."], RAW)]
    nodes = all_nodes(llama)
    whole = Behaviour(llama, ids, logit_difference(5, 6), nodes)
    means = node_means(whole)
    kept = nodes[::2]
    alone = [Behaviour(llama, [each], logit_difference(5, 6), nodes) for each in ids]
    np.testing.assert_allclose(
        whole.scores(means, kept), [one.scores(means, kept)[0] for one in alone], atol=1e-5
    )
    np.testing.assert_allclose(
        whole.attributions(means), [one.attributions(means)[0] for one in alone], atol=1e-5
    )


def test_an_estimate_is_the_slope_towards_the_mean(llama):
    """A thousandth of a step from what a prompt holds changes the score by what is estimated for it."""
    ids = [prompt.ids for prompt in encode(llama, ["hello"], RAW)]
    run = Behaviour(llama, ids, logit_difference(5, 6), all_nodes(llama))
    own = node_means(run)  # of one prompt: what it holds
    rng = np.random.default_rng(0)
    steps = {
        site: rng.standard_normal(t.shape).astype(np.float32) for site, t in own.tables.items()
    }
    near = [
        replace(own, tables={site: t + e * steps[site] for site, t in own.tables.items()})
        for e in (3e-3, -3e-3)
    ]
    estimates = run.attributions(near[0])[0]
    for k in range(0, len(run.nodes), 3):
        rest = [node for i, node in enumerate(run.nodes) if i != k]
        up, down = (run.scores(means, rest)[0] for means in near)
        assert estimates[k] == pytest.approx((up - down) / 2, rel=0.05, abs=1e-6)


def test_the_search_finds_a_small_set():
    need = {3, 7, 11}
    tried = []

    def value(members):
        tried.append(members)
        return len(need & members) / 3

    order = [3, 1, 7, 2, 11, *range(20, 60)]
    beginning = shortest_prefix(order, value, 0.9)
    assert beginning == [3, 1, 7, 2, 11]
    assert prune(beginning, value, 0.9) == [3, 7, 11]
    assert len(tried) < 16
    assert shortest_prefix([1, 2], lambda _: 0.0, 0.9) == [1, 2]
    assert prune([4], lambda _: 1.0, 0.9) == [4]


def test_groups_are_on_one_side_and_random_sets_of_the_same_kinds(chain, words):
    search, held = split(words, 0)
    groups = words.groups()
    assert set(groups[search]).isdisjoint(groups[held])
    assert sorted([*search, *held]) == list(range(16))
    nodes = all_nodes(chain)
    assert len(nodes) == 1 + 3 * 5
    chosen = [node for node in nodes if str(node) in ("embed", "head.0.1", "head.2.2", "mlp.1")]
    for drawn in random_sets(nodes, chosen, 5, 0):
        assert sorted(node.kind for node in drawn) == ["embed", "head", "head", "mlp"]
        assert len(set(drawn)) == 4
    assert shared_ends([np.array([1, 2, 3]), np.array([1, 2, 3])]) == (3, 0)
    assert shared_ends([np.array([1, 2, 3, 9]), np.array([1, 4, 9])]) == (1, 1)


def test_a_kind_that_every_random_set_has_whole_is_said(chain, words):
    """Sets of as many MLPs as there are are one set."""
    kinds = ["embed", "head", "head", "mlp", "mlp"]
    found = Search(chain, words, RAW, wrong="Z").run(verify=0, n_random=1)

    def sentence(*missing, **changes):
        nodes = [
            NodeEffect(
                name="",
                kind=kind,
                layer=0,
                index=0,
                estimate=0,
                effect=0,
                is_found=k not in missing,
            )
            for k, kind in enumerate(kinds)
        ]
        return shared_by_random(replace(found, nodes=nodes, **changes))

    assert "nothing is compared" in sentence()
    expected = "Every random set has all MLPs and the embedding, too: only heads are compared."
    assert sentence(1) == expected
    assert sentence(1, random=[]) == ""
    assert sentence(1, 3) == ""


def test_what_is_no_behaviour(chain, words):
    with raises(DataError, "no-behaviour"):
        Search(chain, words, RAW, answer="Z", wrong="Q").run()
    with raises(DataError, "class-of-one-group", n=1):
        split(labelled([("xa.", 1), ("xb.", 0), ("yb.", 0)]), 0)
    with raises(DataError, "two-labels-expected", n=0):
        split(PromptSet(name="p", prompts=(Prompt(text="a"),)), 0)
    with raises(UsageError, "out-of-range", value=1.5):
        Search(chain, words, RAW).run(keep=1.5)
    with raises(UsageError, "equal-answers"):
        Search(chain, words, RAW, answer="Q", wrong="Q").run()


def test_a_second_run_reads_the_first_and_draws_what_is_missing(
    chain_folder, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words.save(tmp_path / "set.json")
    line = f"introspect circuit -m {chain_folder} -d set.json --wrong Z --random 2 -o out.json"
    first, second = (invoke([*line.split(), "--dot", "c.dot"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "is reused" in second.stderr
    assert second.stdout == first.stdout
    dot = (tmp_path / "c.dot").read_bytes()
    (tmp_path / "c.dot").unlink()
    assert "is reused" in invoke([*line.split(), "--dot", "c.dot"]).stderr
    assert (tmp_path / "c.dot").read_bytes() == dot


@pytest.mark.slow
def test_the_pipeline_finds_what_decides_for_a_tool_call(tmp_path):
    command = ["make", "-f", str(ROOT / "pipelines/circuit_discovery.mk"), f"OUT={tmp_path}"]
    small = [f"CIRCUIT={sys.executable} -m circuit", "SIZES=--per-tool 3 --no-tool 24", "RANDOM=8"]
    done = subprocess.run([*command, *small], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "circuit.json").read_text())["results"]
    assert results["answer"] == "<tool_call>"
    assert results["search_faithfulness"] >= 0.9
    assert results["faithfulness"][0] > results["random_band"][1]
    assert len(results["circuit"]) < len(results["nodes"])
    assert "Faithfulness, held out" in done.stdout
    assert (tmp_path / "circuit.dot").exists()
