"""collect: rows in the dataset's order, exact values, reuse, and nothing left behind."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from collecting import prepared

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, CircuitError, DataError, ModelError, UsageError
from circuit.stages.collect.answers import AnswerOptions
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.run import collect, limited
from circuit.values.sites import Site


def write_prompts(path, texts, **fields):
    prompts = [
        {"text": t, "label": ["no", "yes"][i % 2], "group": f"g{i}"} for i, t in enumerate(texts)
    ]
    document = {"name": "some", "labels": ["no", "yes"], "prompts": prompts, **fields}
    PromptSet.model_validate(document).save(path)
    return path


@pytest.fixture
def dataset(tmp_path):
    texts = ["one", "a much longer prompt than the others", "two ", "three three"]
    return write_prompts(tmp_path / "prompts.json", texts)


def run(folder, dataset, out, *, force=False, **options):
    wanted = Recording(**options.pop("recording", {}))
    return collect(prepared(folder, dataset, out, recording=wanted, **options), force=force)


def test_rows_are_the_models_states_in_the_datasets_order(llama, llama_folder, dataset, tmp_path):
    import mlx.core as mx

    from circuit.model.prompts.tokens import encode_prompts
    from circuit.model.sites.sites import hidden_states

    wanted = {"sites": "embed,resid_post", "positions": "last,mean", "batch_tokens": 40}
    acts = run(llama_folder, dataset, tmp_path / "acts", recording=wanted).result
    for row, prompt in enumerate(encode_prompts(llama, acts.prompt_set.texts)):
        for layer in range(3):
            site = Site("resid_post", layer)
            full = np.array(hidden_states(llama, mx.array(prompt.ids[None]), [site])[site])[0]
            last = acts.read("resid_post", layer, "last")[row]
            np.testing.assert_allclose(last, full[-1], rtol=1e-5, atol=1e-6)
            mean = acts.read("resid_post", layer, "mean")[row]
            np.testing.assert_allclose(mean, full[1:].mean(axis=0), rtol=1e-4, atol=1e-6)
    assert acts.manifest.model.weights_sha256 == llama.identity.weights_sha256


def test_equal_inputs_give_equal_bytes_and_a_second_run_is_reused(llama_folder, dataset, tmp_path):
    first = run(llama_folder, dataset, tmp_path / "a")
    again = run(llama_folder, dataset, tmp_path / "a")
    other = run(llama_folder, dataset, tmp_path / "b")
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_another_run_is_not_overwritten(llama_folder, dataset, tmp_path):
    run(llama_folder, dataset, tmp_path / "a")
    before = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(ArtifactError, match="holds something else"):
        run(llama_folder, dataset, tmp_path / "a", recording={"layers": "0"})
    assert (tmp_path / "a.safetensors").read_bytes() == before
    acts = run(llama_folder, dataset, tmp_path / "a", recording={"layers": "0"}, force=True).result
    assert acts.layers("resid_post") == [0]


def test_layer_zero_is_a_layer(llama_folder, dataset, tmp_path):
    acts = run(llama_folder, dataset, tmp_path / "a", recording={"layers": "0,-1"}).result
    assert acts.layers("resid_post") == [0, 2]


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
def test_archives_in_half_precision_read_as_float32(llama_folder, dataset, tmp_path, store):
    full = run(llama_folder, dataset, tmp_path / "full").result.read("resid_post", 1)
    half = run(llama_folder, dataset, tmp_path / "half", recording={"dtype": store}).result
    assert half.read("resid_post", 1).dtype == np.float32
    np.testing.assert_allclose(half.read("resid_post", 1), full, rtol=1e-2, atol=1e-3)


def test_chat_format_comes_from_the_set_and_can_be_overruled(llama_folder, tmp_path):
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    chat = write_prompts(
        tmp_path / "chat.json", ["Hi", "Hello"], format="chat", system="Be", tools=tools
    )
    in_chat = run(llama_folder, chat, tmp_path / "a").result
    assert in_chat.manifest.parameters["format"] == "chat"
    assert in_chat.manifest.parameters["tools"] == tools
    raw = run(llama_folder, chat, tmp_path / "b", chat=False).result
    assert raw.manifest.parameters["tools"] is None
    assert not np.allclose(in_chat.read("resid_post", 2), raw.read("resid_post", 2))


def test_limit_spreads_over_the_set(dataset):
    prompts = read_prompts(dataset)
    assert limited(prompts, 2).texts == [prompts.texts[0], prompts.texts[-1]]
    assert limited(prompts, 9) == prompts
    with pytest.raises(UsageError):
        limited(prompts, 0)


def test_bad_input_leaves_nothing_behind(llama_folder, dataset, tmp_path):
    long = write_prompts(tmp_path / "long.json", ["short", "x" * 400])
    cases = [
        (dataset, {"recording": {"layers": "3"}}, UsageError, "out of range"),
        (dataset, {"recording": {"sites": "nowhere"}}, UsageError, "unknown site"),
        (dataset, {"recording": {"positions": "7"}}, DataError, "position 7 of prompt"),
        (dataset, {"system": "x"}, UsageError, "need a chat template"),
        (long, {}, DataError, "prompt 1 has 401 tokens"),
        (tmp_path / "none.json", {}, ArtifactError, "none.json"),
        (llama_folder / "config.json", {}, CircuitError, "not `circuit.prompts/1`"),
    ]
    before = sorted(tmp_path.iterdir())
    for source, options, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            run(llama_folder, source, tmp_path / "out", **options)
        assert caught.value.hint
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ModelError):
        run(tmp_path / "no-model", dataset, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_the_manifest_explains_the_off_by_one_of_hugging_face(llama_folder, dataset, tmp_path):
    run(llama_folder, dataset, tmp_path / "a")
    manifest = json.loads((tmp_path / "a.json").read_text())
    assert "resid_post.(i-1)" in manifest["results"]["note"]


def test_another_chat_template_is_another_run(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    chat = write_prompts(tmp_path / "chat.json", ["Hi", "Hello"], format="chat")
    run(folder, chat, tmp_path / "a")
    config = (folder / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(config.replace("<a>", "<t>"))
    with pytest.raises(ArtifactError, match="holds something else"):
        run(folder, chat, tmp_path / "a")


def test_the_manifest_says_whether_batches_were_padded(llama_folder, dataset, tmp_path):
    padded = run(llama_folder, dataset, tmp_path / "a").result
    single = run(llama_folder, dataset, tmp_path / "b", recording={"batch_tokens": 1}).result
    found = [each.manifest.results["padded_batches"] for each in (padded, single)]
    assert found == [True, False]


def test_states_that_half_precision_cannot_hold_are_refused(tmp_path, dataset):
    folder = write_checkpoint(tmp_path / "model")
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.embed_tokens.weight"] *= 1e6
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CircuitError, match="resid_post"):
        run(folder, dataset, tmp_path / "a", recording={"dtype": "float16"})
    assert sorted(tmp_path.iterdir()) == before
    run(folder, dataset, tmp_path / "a", recording={"dtype": "bfloat16"})
    with pytest.raises(DataError, match="is not finite"):
        collect(prepared(folder, dataset, tmp_path / "b", dtype="float16"))


def test_no_input_is_replaced_even_by_force(llama_folder, tmp_path):
    chat = write_prompts(tmp_path / "chat.json", ["Hi", "Hello"], format="chat")
    tools = tmp_path / "tools.json"
    tools.write_text('[{"type": "function", "function": {"name": "f"}}]')
    before = tools.read_bytes()
    with pytest.raises(UsageError, match="would replace"):
        run(llama_folder, chat, tmp_path / "tools", tools=tools, force=True)
    assert tools.read_bytes() == before


def test_patterns_are_not_averaged_over_keys(llama_folder, dataset, tmp_path):
    acts = run(llama_folder, dataset, tmp_path / "a", recording={"sites": "attn_pattern"}).result
    with pytest.raises(UsageError, match="rows of `attn_pattern` are keys"):
        acts.read("attn_pattern", 1)
    values, offsets = acts.ragged("attn_pattern", 1)
    sums = np.add.reduceat(values, offsets[:-1])
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


def test_a_dry_run_knows_the_size_of_the_file(llama_folder, dataset, tmp_path):
    from circuit.stages.collect.estimate import estimate

    wanted = Recording(sites="resid_post,attn_pattern", positions="last,-3:")
    job = prepared(llama_folder, dataset, tmp_path / "a", recording=wanted)
    found = estimate(job)
    assert not (tmp_path / "a.safetensors").exists()
    assert found.prompts == 4
    assert found.seconds > 0
    collect(job)
    assert (tmp_path / "a.safetensors").stat().st_size == found.archive


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"dtype": "float8"}, "unknown archive type `float8`"),
        ({"positions": "re:("}, "not a regular expression"),
        ({"truncate": "top"}, "unknown side"),
        ({"answers": AnswerOptions(3, ("regex:(",))}, "not a regular expression"),
        ({"answers": AnswerOptions(3, ("expected",))}, "needs prompts with an expected text"),
    ],
)
def test_what_needs_no_model_is_refused_before_there_is_one(dataset, tmp_path, wanted, words):
    with pytest.raises(UsageError, match=words):
        run(tmp_path / "no-model", dataset, tmp_path / "out", recording=wanted)


def test_bad_tools_are_refused_before_there_is_a_model(tmp_path):
    chat = write_prompts(tmp_path / "chat.json", ["Hi"], format="chat")
    with pytest.raises(ArtifactError, match="nowhere.json"):
        run(tmp_path / "no-model", chat, tmp_path / "out", tools=tmp_path / "nowhere.json")


def test_answers_of_another_run_are_refused_before_anything_runs(llama_folder, dataset, tmp_path):
    (tmp_path / "a.answers.jsonl").write_text("mine\n")
    before = sorted(tmp_path.iterdir())
    begun = []

    def track(batches, what, total):
        begun.append(what)
        return batches

    job = prepared(
        llama_folder,
        dataset,
        tmp_path / "a",
        recording=Recording(answers=AnswerOptions(3)),
    )
    with pytest.raises(ArtifactError, match=r"answers\.jsonl` is already there"):
        collect(job, track=track)
    assert not begun
    assert sorted(tmp_path.iterdir()) == before


def test_a_manifest_without_its_archive_is_named(llama_folder, dataset, tmp_path):
    run(llama_folder, dataset, tmp_path / "a")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ArtifactError, match="which does not exist") as caught:
        run(llama_folder, dataset, tmp_path / "a")
    assert "write it again with --force" in caught.value.hint
    run(llama_folder, dataset, tmp_path / "a", force=True)
    assert (tmp_path / "a.safetensors").read_bytes() == whole


def test_a_shards_errors_count_prompts_in_the_whole_set(llama_folder, tmp_path):
    texts = ["long enough"] * 5 + ["x"]
    dataset = write_prompts(tmp_path / "prompts.json", texts)
    job = prepared(llama_folder, dataset, tmp_path / "a", recording=Recording(positions="4"))
    with pytest.raises(DataError, match="position 4 of prompt 5 is out of range"):
        job.layout(2, 2)
    assert job.layout(1, 2).plan.first == 0


def test_a_dry_run_counts_the_answers(llama_folder, dataset, tmp_path):
    from circuit.stages.collect.estimate import estimate

    def answering(asked):
        model = llama_folder
        return estimate(
            prepared(model, dataset, tmp_path / "a", recording=Recording(answers=asked))
        ).answering

    assert answering(None) == 0
    assert answering(AnswerOptions(20)) > 0


def test_what_is_kept_of_every_token_counts_as_memory(llama):
    from circuit.model.forward.budget import kept_per_token
    from circuit.model.prompts.positions import parse_positions

    sites = [Site("resid_post", 0), Site("attn_pattern", 1)]
    heads = llama.config["num_attention_heads"]
    kept = kept_per_token(llama, 50, sites, parse_positions("all,last"))
    assert kept == 2 * 4 * (llama.d_model + heads * 50)
    assert kept_per_token(llama, 50, sites, parse_positions("last,mean")) == 0
