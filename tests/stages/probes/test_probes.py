"""probes: questions whose answers are planted in a block, in the last token, or in the words."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import visualize_report
from checkpoints import write_checkpoint
from errors import raises
from in_process import invoke
from pages import Page

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.files.documents import plain
from circuit.artifacts.manifest.manifest import read_manifest
from circuit.artifacts.prompts.builtin import builtin_probes
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.errors import ArtifactError, CircuitError, DataError, UsageError
from circuit.present.terminal import terminal
from circuit.stages.checks.verify import verify
from circuit.stages.options import ModelOptions
from circuit.stages.probes import battery, checklist
from circuit.stages.probes.request import (
    ApplyRequest,
    BatteryOptions,
    CategoryOptions,
    InitRequest,
    RunRequest,
)
from circuit.stages.probes.results import BatteryResult
from circuit.stages.probes.run import RUN
from circuit.stages.probes.saved import read_probe
from circuit.stages.run import run as run_request
from circuit.values import schemas

BLOCK = 1
LETTERS = "abcdefghijklmnoprstuvwyz"


@pytest.fixture(scope="module")
def mixing_at_one_block(tmp_path_factory) -> Path:
    """A checkpoint in which every block returns what it read, but ``BLOCK``, whose attention mixes tokens."""
    import mlx.core as mx

    folder = write_checkpoint(tmp_path_factory.mktemp("mixing"), identity_blocks=True)
    file = str(folder / "model.safetensors")
    weights = dict(mx.load(file))
    name = f"model.layers.{BLOCK}.self_attn.o_proj.weight"
    weights[name] = mx.random.normal(weights[name].shape, key=mx.random.key(3))
    mx.eval(weights)
    mx.save_safetensors(file, weights, metadata={"format": "mlx"})
    return folder


def inside(word: str, mark: str) -> str:
    """A letter in the middle of a word that occurs once: no count of words can know it."""
    return f"{word[:3]}{mark}{word[3:]} it is here"


def last(word: str, mark: str) -> str:
    return f"{word} it is {word[::-1]}{mark}"


def apart(word: str, mark: str) -> str:
    return f"{word} {mark} it is here"


def pairs(name, build, *, groups=24, stratum="semantic", labels=("no", "yes"), **fields):
    draw = random.Random(7)
    prompts = [
        Prompt(
            text=build(word, mark),
            label=label,
            group=str(group),
            pair=f"{group}/{number}",
        )
        for group in range(groups)
        for number in range(2)
        for word in ["".join(draw.choices(LETTERS, k=6))]
        for label, mark in zip(labels, "xq", strict=True)
    ]
    return PromptSet(
        name=name, labels=labels, stratum=stratum, question="Is it?", prompts=prompts, **fields
    )


def write(folder: Path, *sets: PromptSet) -> Path:
    for each in sets:
        path = folder / (each.stratum or "other") / f"{each.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        each.save(path, force=True)
    return folder


def request(model, folder, *, out=None, category=(), **options) -> RunRequest:
    return RunRequest(
        model=ModelOptions(model=str(model)),
        battery=BatteryOptions(datasets=folder, category=CategoryOptions(category=tuple(category))),
        output=out,
        **{"n_boot": 200, "n_shuffles": 199, "random_weights": False, **options},
    )


def run(model, folder, **options) -> BatteryResult:
    return run_request(request(model, folder, **options))


def report_text(result) -> str:
    return terminal(result.document())


@pytest.fixture(scope="module")
def planted(mixing_at_one_block, tmp_path_factory):
    """The results of three planted probes, and the report that holds them."""
    folder = write(
        tmp_path_factory.mktemp("battery"),
        pairs("in_a_block", inside),
        pairs("in_the_last_token", last, stratum="syntactic"),
        pairs("in_the_words", apart, stratum="decision"),
    )
    out = tmp_path_factory.mktemp("report") / "probes.json"
    return folder, out, run(mixing_at_one_block, folder, out=out).probes


def test_a_concept_emerges_at_the_block_that_writes_it(planted):
    found = planted[2]["in_a_block"]
    assert found.emergence.layer == BLOCK
    assert not found.emergence.in_tokens
    assert not found.emergence.on_surface
    assert [entry.significant for entry in found.layers.values()] == [False, True, True]
    assert found.layers[0].auroc[0] == 0.5  # the last token is the same in a pair
    assert found.emergence.median == BLOCK
    assert found.emergence.interval_90 == (BLOCK, BLOCK)
    assert found.emergence.never == 0
    assert found.emergence.verdict == "selective"
    assert found.layers[BLOCK].step[1] > 0.2


def test_a_battery_in_two_processes_has_the_same_bits(mixing_at_one_block, planted, monkeypatch):
    monkeypatch.setattr("circuit.stages.probes.run.MANY_LAYERS", 0)
    monkeypatch.setattr("circuit.methods.linear.processes.cores", lambda: 2)
    again = run(mixing_at_one_block, planted[0])
    assert again.probes == planted[2]


def test_a_concept_in_the_last_token_is_in_the_tokens_and_does_not_emerge(planted):
    found = planted[2]["in_the_last_token"]
    assert found.emergence.in_tokens
    assert found.emergence.layer is None
    assert found.emergence.threshold_layer == 0
    assert found.emergence.verdict == "surface"  # the last character is surface too


def test_a_concept_in_the_words_is_on_the_surface(planted):
    found = planted[2]["in_the_words"]
    assert found.emergence.on_surface
    assert found.emergence.layer is None
    assert found.baselines["words"].auroc[0] == 1.0
    assert found.emergence.verdict == "surface"


def test_what_a_model_with_random_weights_reads_too_was_not_learned(mixing_at_one_block, tmp_path):
    # The planted block *is* random: any attention mixes the letter in, and the comparison says so.
    folder = write(tmp_path / "battery", pairs("one", inside))
    done = run(mixing_at_one_block, folder, random_weights=True, out=tmp_path / "probes.json")
    found = done.probes["one"]
    assert found.layers[BLOCK].random_weights[0] > 0.9
    assert (found.emergence.layer, found.emergence.verdict) == (None, "tokens")
    assert done.random_weights.endswith("(random weights, seed 0)")
    names = {path.name for path in tmp_path.glob("*.safetensors")}
    assert names == {
        "probes.raw.safetensors",
        "probes.random.raw.safetensors",
        "probes.fitted.safetensors",
    }


def test_the_report_holds_the_scores_of_every_prompt(planted):
    found = planted[2]["in_a_block"]
    raw = found.raw
    assert set(raw["scores"]) == {"words", "word_pairs", "surface", "embed", "0", "1", "2"}
    scores, y, fold = (np.array(x) for x in (raw["scores"]["1"], raw["class"], raw["fold"]))
    wins = [
        (scores[(y == 1) & (fold == f)][:, None] > scores[(y == 0) & (fold == f)]).ravel()
        for f in set(fold)
    ]
    assert np.concatenate(wins).mean() == pytest.approx(found.layers[1].auroc[0], abs=1e-4)


def test_the_choice_of_the_layer_is_scored_without_the_rows_that_it_is_scored_on(planted):
    found = planted[2]["in_a_block"]
    choosing = found.choosing
    assert set(choosing.chosen_by_fold) <= {1, 2}
    assert choosing.auroc[0] > 0.9
    text = report_text(RUN.restored(read_manifest(planted[1], schemas.PROBES)))
    assert "Choosing the layer inside the folds" in text


def test_bits_are_shown_or_it_is_said_why_not(planted, mixing_at_one_block, tmp_path):
    few = RUN.restored(read_manifest(planted[1], schemas.PROBES))
    assert "(bits) needs 500 prompts, which no probe here has" in report_text(few)
    many = write(tmp_path / "many", pairs("many", inside, groups=126))
    found = run(mixing_at_one_block, many, n_boot=50, n_shuffles=19, layers="1")
    text = report_text(found)
    assert "(bits) needs" not in text
    assert "1 is nothing learned" in text
    assert found.probes["many"].bits.compression[0] > 1.5


def test_the_checklist_says_what_was_not_controlled(planted):
    _, out, _ = planted
    listed = {i["item"]: i for i in read_manifest(out, schemas.PROBES).results["checklist"]}
    assert not listed["model with random weights"]["controlled"]
    assert not listed["use by the model"]["controlled"]
    assert "in_the_words" in listed["surface of the text"]["detail"]
    assert listed["embedding of the token"]["detail"].startswith(
        "already in the token: in_the_last_token; in in_a_block, in_the_words every class has the same last token"
    )
    assert listed["rows and groups"]["detail"].startswith("96 to 96 prompts in 24 to 24 groups")


def test_after_correction_only_what_has_a_star_is_counted(planted):
    ladder = ["selective", "tokens", "not decodable", "few groups", "surface"]
    one = planted[2]["in_a_block"]
    probes = {
        f"p{i}": replace(
            one, name=f"p{i}", emergence=replace(one.emergence, verdict=verdict), p_battery=p
        )
        for i, (verdict, p) in enumerate(zip(ladder, [0.01, 0.2, 0.01, 0.01, 0.03], strict=True))
    }
    assert checklist._several(probes) == (
        "2 of the 3 with a star remain after correction for 5 (Holm): p0, p4"
    )


def applied(model, fitted, prompt="it is", *, probe="in_a_block", **options):
    options = {"model": ModelOptions(model=str(model)), "probe": probe, **options}
    return run_request(ApplyRequest(probes=fitted, prompt=prompt, **options))


def test_a_saved_probe_is_the_probe_and_reads_along_the_tokens(mixing_at_one_block, planted):
    _, out, results = planted
    fitted = out.with_name("probes.fitted.safetensors")
    probe, _ = read_probe(fitted, "in_a_block", None)
    assert probe.layer == results["in_a_block"].emergence.best_layer
    archive = Activations.open(out.with_name("probes.raw.safetensors"))
    rows = archive.read("resid_post", probe.layer)
    asked = [i for i, p in enumerate(archive.prompts) if p.metadata["probes"] == ["in_a_block"]]
    p = probe.probabilities(rows[asked])[:, 1]
    built = pairs("in_a_block", inside)
    positive = np.array([prompt.label == "yes" for prompt in built.prompts])
    assert p[positive].mean() > 0.8
    assert p[~positive].mean() < 0.2
    text = built.prompts[0].text
    (reading,) = applied(mixing_at_one_block, fitted, text, generate=3).readings
    assert len(reading.tokens) == len(reading.probabilities)
    assert reading.generated_from == len(text) + 1  # a token is a byte, and one begins the text
    assert len(reading.tokens) <= reading.generated_from + 3
    at_end = reading.probabilities[reading.generated_from - 1][1]
    row = archive.prompt_set.texts.index(text)
    assert at_end == pytest.approx(probe.probabilities(rows[[row]])[0, 1], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        (None, None, "holds 3 probes"),
        ("other", None, "no probe `other`"),
        ("in_a_block", "1,2", "names 2 layers"),
        ("in_a_block", "0", "layer 0 is not available"),  # equal rows have no probe
    ],
)
def test_a_probe_that_is_not_there_is_refused(planted, name, layer, message):
    with pytest.raises(CircuitError, match=message) as error:
        read_probe(planted[1].with_name("probes.fitted.safetensors"), name, layer)
    assert error.value.hint


def test_a_reading_says_what_its_probe_is_worth(mixing_at_one_block, planted):
    fitted = planted[1].with_name("probes.fitted.safetensors")
    best = applied(mixing_at_one_block, fitted)
    assert (best.verdict, best.best_of_layers, best.notes) == ("selective", 3, [])
    text = report_text(best)
    assert "(best of 3 layers, optimistic)" in text
    assert "Verdict: selective" in text
    assert "at other tokens it extrapolates" in text
    other = str(3 - best.layer)  # 1 or 2: layer 0 has no probe
    asked = applied(mixing_at_one_block, fitted, layer=other)
    assert asked.best_of_layers is None
    assert "optimistic" not in report_text(asked)


def test_a_reading_by_another_model_or_in_another_format_says_so(
    mixing_at_one_block, planted, tmp_path
):
    fitted = planted[1].with_name("probes.fitted.safetensors")
    other = applied(write_checkpoint(tmp_path / "other"), fitted)
    (note,) = other.notes
    assert "this model has other weights" in note
    assert f"Note: {note}" in report_text(other)
    (note,) = applied(mixing_at_one_block, fitted, chat=True).notes
    assert "in the format raw, these are chat" in note


def test_a_probe_that_reads_nothing_says_so(mixing_at_one_block, tmp_path):
    few = pairs("one", inside, groups=6)
    run(mixing_at_one_block, write(tmp_path / "few", few), out=tmp_path / "few.json")
    fitted = tmp_path / "few.fitted.safetensors"
    (note,) = applied(mixing_at_one_block, fitted, probe=None).notes
    assert "the verdict of the probe is `few groups`" in note


def test_a_probe_of_another_shape_is_refused(planted):
    fitted = planted[1].with_name("probes.fitted.safetensors")
    with raises(DataError, "model-of-another-shape", model="tiny"):
        applied("tiny", fitted)


def test_the_report_is_a_manifest_of_archives_that_collect_wrote(planted):
    _, out, results = planted
    manifest = read_manifest(out, schemas.PROBES)
    assert manifest.results["probes"] == plain(results)
    assert RUN.restored(manifest).probes == results
    assert len(manifest.inputs) == 3
    assert [ref.path for ref in manifest.outputs] == [
        "probes.raw.json",
        "probes.fitted.safetensors",
    ]
    archive = Activations.open(out.with_name("probes.raw.safetensors"))
    assert archive.sites == ["embed", "resid_post"]
    assert len(archive.prompts) == len(set(archive.prompt_set.texts)) == 3 * 96
    assert list(results) == ["in_the_last_token", "in_a_block", "in_the_words"]  # by stratum


def test_the_same_run_is_reused_and_an_edited_battery_is_not(mixing_at_one_block, tmp_path):
    folder = write(tmp_path / "battery", pairs("one", inside))
    out = tmp_path / "probes.json"
    first = RUN.run(request(mixing_at_one_block, folder, out=out))
    again = RUN.run(request(mixing_at_one_block, folder, out=out))
    assert (first.reused, again.reused) == (False, True)
    assert first.result == again.result
    shown = RUN.document(request(mixing_at_one_block, folder), again.result)
    assert terminal(shown) == report_text(first.result)
    write(folder, pairs("one", last))
    with pytest.raises(CircuitError, match="probes"):
        run(mixing_at_one_block, folder, out=out)
    edited = run(mixing_at_one_block, folder, out=out, force=True)
    assert edited.probes["one"].emergence.in_tokens


def test_the_archives_of_a_report_are_verified_and_looked_at_before_it_is_reused(
    mixing_at_one_block, tmp_path
):
    folder = write(tmp_path / "battery", pairs("one", inside))
    out = tmp_path / "probes.json"
    run(mixing_at_one_block, folder, out=out)
    found = {each.path.name: each.status for each in verify([out])}
    names = {"probes.json", "probes.raw.json", "probes.raw.safetensors"}
    assert found == dict.fromkeys({*names, "probes.fitted.safetensors", "one.json"}, "ok")
    with (tmp_path / "probes.raw.safetensors").open("ab") as file:
        file.write(b"x")
    assert {e.path.name for e in verify([out]) if e.status == "changed"} == {
        "probes.raw.safetensors"
    }
    with raises(ArtifactError, "output-changed"):
        run(mixing_at_one_block, folder, out=out)


def test_a_report_is_drawn_without_its_archives(mixing_at_one_block, tmp_path):
    folder = write(tmp_path / "battery", pairs("one", inside))
    out = tmp_path / "probes.json"
    run(mixing_at_one_block, folder, out=out)
    for name in ("probes.raw.json", "probes.raw.safetensors"):
        (tmp_path / name).unlink()
    drawn, _ = visualize_report(out, tmp_path / "plots")
    assert [figure.file for figure in drawn.figures] == ["stratigraphy.png", "probes.png"]
    assert {e.path.name for e in verify([out]) if e.status == "missing"} == {"probes.raw.json"}


def test_another_format_is_another_run(mixing_at_one_block, tmp_path):
    folder = write(tmp_path / "battery", pairs("one", inside))
    raw = RUN.plan(request(mixing_at_one_block, folder)).known
    chat = RUN.plan(request(mixing_at_one_block, folder, chat=True)).known
    assert raw["battery_sha256"] != chat["battery_sha256"]


def test_a_notebook_shows_the_document_of_a_battery(planted):
    html = RUN.restored(read_manifest(planted[1], schemas.PROBES))._repr_html_()
    page = Page(html)
    assert len(page.all("img")) == 2
    assert "Battery of probes" in page.words


def test_without_a_report_nothing_is_written(mixing_at_one_block, tmp_path, monkeypatch):
    folder = write(tmp_path / "battery", pairs("one", inside))
    monkeypatch.chdir(tmp_path)
    run(mixing_at_one_block, folder, layers="-1")
    assert [path.name for path in tmp_path.iterdir()] == ["battery"]


def test_a_report_is_drawn_with_its_numbers(planted, tmp_path):
    _, out, results = planted
    drawn, reused = visualize_report(out, tmp_path / "plots")
    assert not reused
    assert [figure.file for figure in drawn.figures] == ["stratigraphy.png", "probes.png"]
    for figure in drawn.figures:
        assert (tmp_path / "plots" / figure.file).read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "plots" / "stratigraphy.json").read_text())
    assert numbers["probes"]["in_a_block"]["emergence"] == plain(results["in_a_block"].emergence)
    again, reused = visualize_report(out, tmp_path / "plots")
    assert (again.figures, reused) == (drawn.figures, True)
    with pytest.raises(CircuitError):
        visualize_report(out.with_name("probes.raw.json"), tmp_path / "other")


def test_few_groups_support_no_star(mixing_at_one_block, tmp_path):
    folder = write(tmp_path, pairs("few", inside, groups=8))
    found = run(mixing_at_one_block, folder).probes["few"]
    assert not any(entry.significant for entry in found.layers.values())
    assert found.emergence.layer is None
    assert found.emergence.threshold_layer == BLOCK


def test_each_text_is_run_once_per_format(tmp_path):
    twice = pairs("a", inside), pairs("b", inside), pairs("c", inside, format="chat")
    raw, chat = battery.pools(battery.load_battery(write(tmp_path, *twice)), chat=None)
    assert (raw.name, chat.name) == ("raw", "chat")
    assert len(raw.prompts.prompts) == len(chat.prompts.prompts) == 96
    assert raw.prompts.prompts[0].metadata == {"probes": ["a", "b"]}
    assert list(raw.rows(raw.probes[1])) == list(range(96))
    (only,) = battery.pools(battery.load_battery(tmp_path), chat=False)
    assert len(only.prompts.prompts) == 96


def test_unlabelled_prompts_are_collected_but_not_scored(mixing_at_one_block, tmp_path):
    labelled = pairs("one", inside)
    shown = (*labelled.prompts, Prompt(text="neither"))
    folder = write(tmp_path / "battery", labelled.model_copy(update={"prompts": shown}))
    found = run(mixing_at_one_block, folder, out=tmp_path / "probes.json")
    assert (found.prompts, found.probes["one"].n) == (97, 96)


def spoiled(**change):
    """A battery of one probe in which something is wrong."""
    good = pairs("one", inside)
    return good.model_copy(update=change)


one_class = pairs("one", inside).model_copy(
    update={"prompts": tuple(p for p in pairs("one", inside).prompts if p.label == "yes")}
)
one_group = spoiled(prompts=tuple(replace(p, group="same") for p in pairs("one", inside).prompts))


@pytest.mark.parametrize(
    ("sets", "options", "code"),
    [
        ([], {}, "no-probes"),
        ([one_class], {}, None),
        ([one_group], {}, None),
        ([pairs("one", inside)], {"category": ["semantics"]}, "unknown-category"),
        ([pairs("one", inside)], {"layers": "7"}, None),
        (
            [pairs("one", inside), pairs("one", inside, stratum="decision")],
            {},
            "probe-named-twice",
        ),
    ],
    ids=["empty", "one class", "one group", "category", "layer", "names"],
)
def test_what_cannot_be_probed_is_refused_with_a_hint(
    mixing_at_one_block, tmp_path, sets, options, code
):
    folder = write(tmp_path / "battery", *sets)
    folder.mkdir(exist_ok=True)
    with pytest.raises(CircuitError) as error:
        run(mixing_at_one_block, folder, out=tmp_path / "probes.json", **options)
    assert error.value.hint
    assert code in {None, error.value.code}
    if not options and code is None:
        assert error.value.message.startswith("probe `one`: ")
    assert [path.name for path in tmp_path.iterdir()] == ["battery"]


def test_an_unknown_folder_and_a_threshold_at_chance_are_refused(tmp_path):
    with raises(DataError, "folder-missing"):
        battery.load_battery(tmp_path / "nothing")
    with pytest.raises(UsageError, match="threshold") as error:
        run("none", None, threshold=0.5)
    assert error.value.exit_code == 2


def test_init_writes_the_builtin_battery_and_it_reads_back(tmp_path):
    request = InitRequest(output=tmp_path)
    written = [Path(file) for file in run_request(request).files]
    assert len(written) == len(builtin_probes())
    ours, theirs = battery.load_battery(tmp_path), battery.load_battery()
    assert [p.prompts for p in ours] == [p.prompts for p in theirs]
    assert [p.stratum for p in ours] == [p.stratum for p in theirs]
    assert run_request(request).files == list(map(str, written))  # equal files are no conflict
    written[0].write_text(written[0].read_text().replace("?", "!"))
    with pytest.raises(ArtifactError):
        run_request(request)


def test_categories_are_listed_or_given_again():
    one, two = CategoryOptions(category=("a, b",)), CategoryOptions(category=("a", "b,"))
    assert one.strata == two.strata == ["a", "b"]
    twice = probes("list", "--category", "decision", "--category", "semantic")
    assert twice == probes("list", "--category", "decision,semantic")


def probes(*arguments: str) -> str:
    done = invoke(["probes", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_run_prints_what_the_report_holds(mixing_at_one_block, planted, tmp_path):
    folder, _, results = planted
    arguments = ("run", "-m", str(mixing_at_one_block), "--datasets", str(folder))
    arguments = (*arguments, "--no-random-weights")
    text = probes(*arguments, "-o", str(tmp_path / "probes.json"))
    assert "=== in_a_block (semantic): Is it? ===" in text
    assert "96 prompts in 24 groups, 5 folds." in text
    lines = [line.split()[1:4] for line in text.splitlines() if line.startswith("L0 ")]
    assert ["0.500", "[0.500,", "0.500]"] in lines
    assert "=== Probes by layer ===" in text
    assert "=== Computational stratigraphy ===" in text
    assert re.search(rf"in_a_block +semantic +L{BLOCK} +L{BLOCK} ", text)
    assert re.search(r"in_the_words +decision +never", text)
    short = probes(*arguments, "--no-stratigraphy", "--category", "semantic", "--layers", "-1")
    assert "stratigraphy" not in short
    assert "in_the_words" not in short
    assert "=== What was controlled ===\n  [x] rows and groups" in text
    read = ("apply", "-m", str(mixing_at_one_block), "-p", "abcxdef it is here")
    fitted = str(tmp_path / "probes.fitted.safetensors")
    along = probes(*read, "--probes", fitted, "--probe", "in_a_block")
    assert "Probe: in_a_block at L" in along
    assert "Shown: p(yes)" in along
    shown = json.loads(probes(*arguments, "--json", "-o", str(tmp_path / "probes.json")))
    assert shown["probes"].keys() == results.keys()


def test_list_shows_every_probe_and_init_names_its_files(tmp_path):
    listed = json.loads(probes("list", "--json"))
    assert {probe["name"] for probe in listed} == set(builtin_probes())
    assert "no_tool/tool" in probes("list", "--category", "decision")
    assert str(tmp_path / "decision" / "refusal.json") in probes("init", "-o", str(tmp_path))
