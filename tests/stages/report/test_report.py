"""report: one page that says what was found, cannot be made to say anything else, and loads nothing."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import analyze, ask, directions, visualize, visualize_report
from errors import raises
from in_process import invoke
from pages import Page, assert_loads_nothing
from planted_archive import prompt_set, write_planted
from signed import write_signed

from circuit.artifacts.files.documents import read_json
from circuit.artifacts.manifest.manifest import read_manifest
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.steering_files.files import Direction, write_npz
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.stages.probes import document as probes_document
from circuit.stages.probes.results import BatteryResult
from circuit.stages.probes.run import RUN
from circuit.stages.report.report import ReportResult
from circuit.stages.report.request import ReportRequest
from circuit.stages.run import run as run_request
from circuit.stages.steering.document import steer_document
from circuit.stages.steering.request import SteerRequest
from circuit.stages.steering.result import SteerResult
from circuit.values import schemas

HOSTILE = "'\"><script>1</script>"


def report(paths, out, *, force=False) -> ReportResult:
    return run_request(ReportRequest(paths=tuple(paths), output=out, force=force))


def page_at(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with an analysis (compared with another archive), directions, and pictures of a planted archive."""
    folder = tmp_path_factory.mktemp("run")
    for name, seed in (("activations", 1), ("other", 2)):
        write_planted(folder / name, sites=("embed", "resid_post"), seed=seed)
    archive = folder / "activations.safetensors"
    analyze(archive, folder / "analysis.json", compare=folder / "other.safetensors", n_boot=200)
    directions(archive, folder / "directions", per_tool=True, n_boot=200)
    visualize(archive, folder / "plots")
    return folder


@pytest.fixture(scope="module")
def page(run):
    out = run.parent / "report.html"
    results = report([run], out)
    return page_at(out), results, out


def test_a_page_is_well_formed_and_loads_nothing(page):
    found, _, out = page
    text = out.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in found.found].count("h1") == 1
    assert_loads_nothing(text)
    assert found.all("img")
    without_pictures = re.sub(r'"data:image/png;base64,[^"]*"', "", text)
    assert not re.search(r"https?://|\bon\w+=", without_pictures)
    policy = [each["content"] for each in found.all("meta") if "http-equiv" in each]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_a_page_opens_with_a_figure_and_one_table_of_all_findings(page):
    found, results, _ = page
    tags = [(tag, attributes.get("class", "")) for tag, attributes in found.found]
    figure, table = tags.index(("figure", "wide")), tags.index(("table", "findings"))
    assert tags.index(("h1", "")) < figure < table
    assert ("table", "findings") not in tags[table + 1 :]
    before = [tag for tag, _ in tags[:table]]
    assert before.count("img") == 1
    assert before.count("h2") == 1
    rows = [name for tag, name in tags if tag == "tr"]
    assert rows.count("sentence") == len(results.findings)
    assert sum(name.startswith("row ") for name in rows) == len(results.findings)


def test_every_picture_has_a_description_and_comes_once(page):
    found, _, _ = page
    images = found.all("img")
    assert all(image["alt"] for image in images)
    assert len({image["src"] for image in images}) == len(images)
    told = " ".join(image["alt"] for image in images)
    for words in (
        "principal components",
        "UMAP",
        "Logistic probes",
        "moved from model a",
        "Cosines",
        "between all sites and layers",
    ):
        assert words in told


def test_findings_come_first_and_hold_the_numbers_of_the_artifacts(page, run):
    found, results, _ = page
    words = found.words
    order = [
        "What was found, and how sure it is",
        "Analysis of the layers",
        "What was controlled",
        "Where the numbers come from",
    ]
    assert [words.index(heading) for heading in order] == sorted(words.index(h) for h in order)
    analysis = read_manifest(run / "analysis.json", schemas.ANALYSIS).results
    entry = next(e for e in analysis["layers"] if (e["site"], e["layer"]) == ("resid_post", 2))
    value, low, high = entry["probes"]["label"]["auroc"]
    assert (
        f"AUROC {value:.2f} [{low:.2f}, {high:.2f}] at L2 (where it emerges), n = 120 in 30 groups"
        in words
    )
    verdicts = {each.subject: each.verdict for each in results.findings}
    assert verdicts["label at resid_post, last"] == "decodable"
    assert verdicts["label at embed, last"] == "not decodable"
    assert verdicts["tool_vs_no_tool"] == "readable"
    assert verdicts["does label read across"] == "loss shown"  # other axes, so it must
    assert set(verdicts.values()) <= {
        "decodable",
        "not decodable",
        "readable",
        "loss shown",
        "described",
    }


def test_provenance_has_every_digest(page, run):
    found, _, _ = page
    for name in ("analysis", "directions"):
        document = json.loads((run / f"{name}.json").read_text())
        for ref in (*document["inputs"], *document["outputs"]):
            assert ref["sha256"] in found.words
    assert "circuit verify" in found.words


def test_equal_artifacts_give_equal_bytes(page, run, tmp_path):
    report([run], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == page[2].read_bytes()


def test_hostile_names_are_text(tmp_path):
    prompts = prompt_set()
    renamed = [
        replace(prompt, label=prompt.label and f"{prompt.label}{HOSTILE}")
        for prompt in prompts.prompts
    ]
    labels = (f"no_tool{HOSTILE}", f"tool{HOSTILE}")
    hostile = PromptSet(name="x", labels=labels, prompts=tuple(renamed))
    write_planted(tmp_path / "a", prompts=hostile, n_layers=2, d=32)
    archive = tmp_path / "a.safetensors"
    directions(archive, tmp_path / "directions", n_boot=50)
    analyze(archive, tmp_path / "analysis.json", n_boot=50, n_shuffles=50)
    report([tmp_path], tmp_path / "report.html")
    found = page_at(tmp_path / "report.html")
    assert not found.all("script")
    assert all(image["src"].startswith("data:") for image in found.all("img"))
    assert not [key for _, each in found.found for key in each if key.startswith("on")]
    assert f"tool{HOSTILE}" in found.words


def test_what_cannot_be_reported_is_refused(run, tmp_path):
    with raises(UsageError, "not-an-html-file"):
        report([run], tmp_path / "report.txt")
    with raises(ArtifactError, "nothing-to-report"):
        report([tmp_path], tmp_path / "report.html")
    with raises(ArtifactError, "not-reportable", schema=schemas.ACTIVATIONS):
        report([run / "activations.json"], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("name", "key"),
    [("analysis.json", "curves"), ("directions.json", "layers"), ("plots/plots.json", "figures")],
)
def test_results_that_lack_a_key_are_refused_with_their_file(run, tmp_path, name, key):
    copy = shutil.copytree(run, tmp_path / "copy")
    document = json.loads((copy / name).read_text())
    del document["results"][key]
    write_signed(copy / name, document)
    with raises(ArtifactError, "results-of-another-version") as caught:
        report([copy / name], tmp_path / "report.html")
    assert str(copy / name) in caught.value.message
    assert not (tmp_path / "report.html").exists()


def test_a_changed_output_and_a_picture_elsewhere_are_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    plots = copy / "plots" / "plots.json"
    document = json.loads(plots.read_text())
    document["results"]["figures"][0]["file"] = "../activations.safetensors"
    write_signed(plots, document)
    with raises(ArtifactError, "not-a-picture"):
        report([plots], tmp_path / "report.html")
    (copy / "directions.safetensors").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="is not the file that"):
        report([copy / "directions.json"], tmp_path / "report.html")


def test_an_archive_that_is_gone_is_warned_of_and_saved_probes_are_left_out(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "directions.safetensors").unlink()
    saved = json.loads((copy / "directions.json").read_text())
    saved["results"] = {"best_layers": {}, "directions": saved["results"]["directions"]}
    write_signed(copy / "probes.fitted.json", saved)
    done = invoke(["report", str(copy), "-o", str(tmp_path / "report.html")])
    assert done.exit_code == 0
    warning = "directions.safetensors, which directions.json describes, is missing"
    assert warning in done.stdout
    page = page_at(tmp_path / "report.html")
    assert warning in page.words
    assert "probes.fitted.json" not in page.words


def test_artifacts_of_two_archives_stand_under_a_warning(run, tmp_path):
    write_planted(tmp_path / "activations", seed=3)
    analyze(
        tmp_path / "activations.safetensors", tmp_path / "analysis.json", n_boot=20, n_shuffles=20
    )
    assert report([run], tmp_path / "one.html").warnings == []
    moved = json.loads((run / "analysis.json").read_text())
    moved["inputs"][0]["sha256"] = "0" * 64
    copy = shutil.copytree(run, tmp_path / "copy")
    write_signed(copy / "analysis.json", moved)
    warnings = report([copy], tmp_path / "two.html").warnings
    assert "Artifacts here were made from 2 versions of activations.json." in warnings
    assert "plots.json was made from another version of ../analysis.json." in warnings
    assert warnings[0] in page_at(tmp_path / "two.html").words


def test_another_page_is_not_replaced_without_force(run, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("mine")
    with pytest.raises(ArtifactError):
        report([run], out)
    assert out.read_text() == "mine"
    report([run], out, force=True)
    assert out.read_text("utf-8").startswith("<!DOCTYPE html>")


def steered(llama, tmp_path, *, criterion):
    vector = np.random.default_rng(0).standard_normal(llama.d_model).astype(np.float32)
    direction = Direction("d<i>", "resid_post", 1, vector / np.linalg.norm(vector), 2.0)
    texts = [f"prompt {i}" for i in range(12)]
    prompts = PromptSet(
        name="p",
        labels=("a", "b"),
        prompts=tuple(Prompt(text=t, label="ab"[i % 2], group=str(i)) for i, t in enumerate(texts)),
    )
    prompts.save(tmp_path / "prompts.json")
    write_npz(tmp_path / "d.npz", direction)
    asked = {"criterion": criterion, "controls": 2} if criterion else {}
    result = ask(
        SteerRequest,
        model=llama.id,
        direction=[str(tmp_path / "d.npz")],
        prompts=f"@{tmp_path / 'prompts.json'}",
        compare="0,1",
        max_tokens=2,
        output=tmp_path / "steering.json",
        **asked,
    ).result
    assert isinstance(result, SteerResult)
    return result


def with_rates(result, n_controls, **changed):
    """Return a steering result whose steered rates are others."""
    rates = [
        replace(each, n_groups=30, **(changed if each.coefficient else {}))
        for each in result.trial.rates
    ]
    return replace(result, trial=replace(result.trial, n_controls=n_controls, rates=rates))


def test_steering_is_called_use_only_where_random_directions_do_not_do_the_same(llama, tmp_path):
    result = steered(llama, tmp_path, criterion="regex:[aeiou]")
    found = steer_document(result).findings()
    assert {each.verdict for each in found} == {"few groups"}  # 6 groups for each label
    report([tmp_path / "steering.json"], tmp_path / "report.html")
    assert "d<i> on a prompts" in page_at(tmp_path / "report.html").words
    beaten = {"n_controls": 99, "controls": [0.5] * 99, "p": 0.01}
    both = {"change": (0.5, 0.2, 0.8), "excess": (0.4, 0.1, 0.7)}
    strong = steer_document(with_rates(result, **beaten, **both, p_any=0.02))
    (figure,) = strong.figures()
    assert figure.name == "dose_response"
    assert figure.numbers["rates"][1]["p_any"] == 0.02
    assert [each.verdict for each in strong.findings()] == ["used", "used"]
    assert "p 0.010, 0.020 over all labels and coefficients" in strong.findings()[0].sentence
    for weak in (
        {**both, "p_any": 0.06},
        {**both, "p_any": 0.02, "excess": (0.4, -0.1, 0.7)},
        {**both, "p_any": 0.02, "change": (-0.5, -0.8, -0.2)},
    ):
        found = steer_document(with_rates(result, **beaten, **weak)).findings()
        assert {each.verdict for each in found} == {"use not shown"}


def test_answers_that_nobody_judged_show_nothing(llama, tmp_path):
    document = steer_document(steered(llama, tmp_path, criterion=None))
    assert [each.verdict for each in document.findings()] == ["not measured"]
    assert not document.figures()
    with raises(DataError, "nothing-to-draw"):
        visualize_report(tmp_path / "steering.json", tmp_path / "pictures")


def test_what_steering_did_is_drawn_with_its_numbers(llama, tmp_path):
    result = steered(llama, tmp_path, criterion="regex:[aeiou]")
    results, reused = visualize_report(tmp_path / "steering.json", tmp_path / "pictures")
    assert ([each.file for each in results.figures], reused) == (["dose_response.png"], False)
    drawn = read_json(tmp_path / "pictures" / "dose_response.json")["rates"]
    assert [(one["label"], one["rate"], one["controls"]) for one in drawn] == [
        (rate.label, rate.rate, rate.controls) for rate in result.trial.rates
    ]
    assert visualize_report(tmp_path / "steering.json", tmp_path / "pictures")[1]
    with raises(ArtifactError, "not-drawable", schema=schemas.PLOTS):
        visualize_report(tmp_path / "pictures" / "plots.json", tmp_path / "more")


@pytest.fixture(scope="module")
def battery(workspace) -> BatteryResult:
    return RUN.restored(read_manifest(workspace / "report.json", schemas.PROBES))


def finding(battery: BatteryResult, verdict: str, *, p_battery: float = 0.01, random=None):
    """The finding of one question of a battery, whose verdict is another."""
    name, probe = next(iter(battery.probes.items()))
    layers = {k: replace(each, random_weights=random) for k, each in probe.layers.items()}
    emergence = replace(probe.emergence, verdict=verdict)
    changed = replace(probe, emergence=emergence, p_battery=p_battery, layers=layers)
    (found,) = replace(battery, probes={name: changed}).document().findings()
    return found, probe


@pytest.mark.slow
def test_each_verdict_of_a_battery_has_its_own_words(battery):
    assert finding(battery, "selective")[0].strength == 2
    weak = finding(battery, "selective", p_battery=0.2)[0]
    assert weak.strength == 1
    assert "does not survive" in weak.sentence
    assert "not evidence of absence" in finding(battery, "not decodable")[0].sentence
    verdicts = list(probes_document.MEANING)
    assert len({finding(battery, verdict)[0].sentence for verdict in verdicts}) == 7
    for verdict in verdicts:
        found, probe = finding(battery, verdict)
        assert f"{probe.n} in {probe.n_groups} groups" in found.sentence
        assert "words" in found.baselines


@pytest.mark.slow
@pytest.mark.parametrize("random", [(0.5, 0.4, 0.6), None])
def test_a_finding_names_no_baseline_that_was_not_run(battery, random):
    for verdict in ("selective", "decodable", "tokens", "unresolved"):
        found, _ = finding(battery, verdict, random=random)
        assert ("a model with random weights" in found.sentence) == (random is not None)
        assert (found.baselines["random weights"] is None) == (random is None)
        assert "the token's own embedding" in found.sentence


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
MEASURE = """<!DOCTYPE html><body style="margin:0"><iframe id="f" src="report.html" width="390" height="844" style="border:0"></iframe>
<pre id="out"></pre><script>
onload = () => { const d = document.getElementById("f").contentDocument, i = [...d.images];
  document.getElementById("out").textContent = JSON.stringify({ wide: d.documentElement.scrollWidth,
    images: i.length, drawn: i.filter(x => x.complete && x.naturalWidth > 100).length, title: d.title,
    font: parseFloat(getComputedStyle(d.body).fontSize), scripts: d.scripts.length }); };
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_as_narrow_as_a_phone_shows_the_whole_page(page, tmp_path):
    found, _, out = page
    shutil.copy(out, tmp_path / "report.html")
    (tmp_path / "phone.html").write_text(MEASURE)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
    ]
    flags += [
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    done = subprocess.run(
        [BROWSER, *flags, (tmp_path / "phone.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    measured = json.loads(re.search(r'<pre id="out">(.*?)</pre>', done.stdout)[1])
    assert measured["wide"] <= 390
    assert measured["images"] == measured["drawn"] == len(found.all("img"))
    assert measured["font"] >= 16
    assert measured["scripts"] == 0
    assert measured["title"] == "Report on planted"


@pytest.mark.slow
def test_a_report_of_a_battery_opens_with_its_stratigraphy_and_draws_each_score(
    workspace, battery, tmp_path
):
    out = tmp_path / "report.html"
    done = report([workspace / "report.json", workspace / "analysis.json"], out)
    found = page_at(out)
    assert found.all("img")[0]["alt"].startswith("Computational stratigraphy")
    of_battery = [each for each in done.findings if each.source == "report.json"]
    assert [each.subject for each in of_battery] == list(battery.probes)
    for each in of_battery:
        assert each.score == battery.probes[each.subject].best.auroc
        assert found.words.count(f"{each.score[0]:.2f} [{each.score[1]:.2f}") >= 1
    bars = [each for each in found.all("svg") if each["width"] == "150"]
    assert len(bars) >= len(of_battery)
    assert "Each probe by layer" in found.words
