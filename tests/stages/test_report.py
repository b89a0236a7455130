"""report: one page that says what was found, cannot be made to say anything else, and loads nothing."""

import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from in_process import invoke

sys.path.insert(0, str(Path(__file__).parents[1]))
from planted_archive import prompt_set, write_planted

from circuit.artifacts.files.documents import read_json
from circuit.artifacts.manifest.manifest import read_manifest
from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.artifacts.steering_files.files import Direction
from circuit.errors import ArtifactError, DataError, UsageError
from circuit.stages.analyze.run import analyze
from circuit.stages.directions.run import Choices, directions
from circuit.stages.figures.reports import visualize_report
from circuit.stages.figures.visualize import visualize
from circuit.stages.report import probes as report_probes
from circuit.stages.report import steering as report_steering
from circuit.stages.report.page import escaped
from circuit.stages.report.report import report
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.steer import Job, steer
from circuit.values import schemas
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling

VOID = {"meta", "img"}
HOSTILE = "'\"><script>1</script>"


class Page(HTMLParser):
    """Elements of a page, checked to be closed in the order in which they were opened."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with an analysis (compared with another archive), directions, and pictures of a planted archive."""
    folder = tmp_path_factory.mktemp("run")
    for name, seed in (("activations", 1), ("other", 2)):
        write_planted(folder / name, sites=("embed", "resid_post"), seed=seed)
    archive = folder / "activations.safetensors"
    analyze(archive, folder / "analysis.json", other=folder / "other.safetensors", n_boot=200)
    directions(archive, folder / "directions", Choices(per_tool=True, n_boot=200))
    visualize(archive, folder / "plots")
    return folder


@pytest.fixture(scope="module")
def page(run):
    out = run.parent / "report.html"
    results = report([run], out)
    return Page(out), results, out


def test_a_page_is_well_formed_and_loads_nothing(page):
    found, _, out = page
    text = out.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in found.found].count("h1") == 1
    assert not {tag for tag, _ in found.found} & {"script", "link", "iframe", "object", "form", "a"}
    loaded = [
        value for _, each in found.found for key, value in each.items() if key in {"src", "href"}
    ]
    assert loaded
    assert all(value.startswith("data:image/png;base64,") for value in loaded)
    without_pictures = re.sub(r'"data:image/png;base64,[^"]*"', "", text)
    assert not re.search(r"https?://|url\(|@import|\bon\w+=", without_pictures)
    policy = [each["content"] for each in found.all("meta") if "http-equiv" in each]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


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
    by_subject = {each["subject"]: each for each in results["findings"]}
    assert by_subject["label at resid_post, last"]["word"] == "decodable"
    assert by_subject["label at embed, last"]["word"] == "not decodable"
    assert by_subject["tool_vs_no_tool"]["word"] == "readable"
    assert by_subject["does label read across"]["word"] == "loss shown"  # other axes, so it must
    assert {each["word"] for each in results["findings"]} <= {
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
    directions(archive, tmp_path / "directions", Choices(n_boot=50))
    analyze(archive, tmp_path / "analysis.json", n_boot=50, n_shuffles=50)
    report([tmp_path], tmp_path / "report.html")
    found = Page(tmp_path / "report.html")
    assert not found.all("script")
    assert all(image["src"].startswith("data:") for image in found.all("img"))
    assert not [key for _, each in found.found for key in each if key.startswith("on")]
    assert f"tool{HOSTILE}" in found.words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b> & \"c\" 'd'", "&lt;b&gt; &amp; &quot;c&quot; &#x27;d&#x27;"),
        ("a\x00b\x1b", "a\\x00b\\x1b"),
        ("\ud800", "\\ud800"),
        ("\u202eabc", "\\u202eabc"),
        ("naïve 😀\n", "naïve 😀\n"),
    ],
)
def test_any_text_can_be_shown(text, shown):
    assert escaped(text) == shown
    shown.encode()


def test_what_cannot_be_reported_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="not the name of an HTML file"):
        report([run], tmp_path / "report.txt")
    with pytest.raises(ArtifactError, match="holds nothing to report"):
        report([tmp_path], tmp_path / "report.html")
    with pytest.raises(ArtifactError, match="does not show"):
        report([run / "activations.json"], tmp_path / "report.html")
    document = json.loads((run / "analysis.json").read_text())
    del document["results"]["curves"]
    (tmp_path / "analysis.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="not as this version of circuit writes it"):
        report([tmp_path / "analysis.json"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_changed_output_and_a_picture_elsewhere_are_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    plots = copy / "plots" / "plots.json"
    document = json.loads(plots.read_text())
    document["results"]["figures"][0]["file"] = "../activations.safetensors"
    plots.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="is not a PNG file"):
        report([plots], tmp_path / "report.html")
    (copy / "directions.safetensors").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="is not the file that"):
        report([copy / "directions.json"], tmp_path / "report.html")


def test_an_archive_that_is_gone_is_warned_of_and_saved_probes_are_left_out(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "directions.safetensors").unlink()
    saved = json.loads((copy / "directions.json").read_text())
    saved["results"] = {"best_layers": {}, "directions": saved["results"]["directions"]}
    (copy / "probes.fitted.json").write_text(json.dumps(saved))
    done = invoke(["report", str(copy), "-o", str(tmp_path / "report.html")])
    assert done.exit_code == 0
    warning = "directions.safetensors, which directions.json describes, is not there"
    assert warning in done.stderr
    page = Page(tmp_path / "report.html")
    assert warning in page.words
    assert "probes.fitted.json" not in page.words


def test_artifacts_of_two_archives_stand_under_a_warning(run, tmp_path):
    write_planted(tmp_path / "activations", seed=3)
    analyze(
        tmp_path / "activations.safetensors", tmp_path / "analysis.json", n_boot=20, n_shuffles=20
    )
    assert report([run], tmp_path / "one.html")["warnings"] == []
    moved = json.loads((run / "analysis.json").read_text())
    moved["inputs"][0]["sha256"] = "0" * 64
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "analysis.json").write_text(json.dumps(moved))
    warnings = report([copy], tmp_path / "two.html")["warnings"]
    assert "Artifacts here were made from 2 versions of activations.json." in warnings
    assert "plots.json was made from another version of ../analysis.json." in warnings
    assert warnings[0] in Page(tmp_path / "two.html").words


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
    job = Job(
        Intervention.of(direction),
        prompts,
        [0, 1],
        RAW,
        Sampling(max_tokens=2),
        criterion,
        2 if criterion else 0,
    )
    steer(llama, job, out=tmp_path / "steering.json")
    return read_manifest(tmp_path / "steering.json", schemas.STEERING)


def test_steering_is_called_use_only_where_random_directions_do_not_do_the_same(llama, tmp_path):
    manifest = steered(llama, tmp_path, criterion="regex:[aeiou]")
    section = report_steering.section(manifest)
    assert {found.word for found in section.findings} == {"few groups"}  # 6 groups for each label
    report([tmp_path / "steering.json"], tmp_path / "report.html")
    assert "d<i> on a prompts" in Page(tmp_path / "report.html").words
    results = deepcopy(manifest.results)
    for rate in results["trial"]["rates"]:
        rate.update(
            n_groups=30,
            controls=[0.5] * 99 if rate["coefficient"] else [],
            p=0.01 if rate["coefficient"] else None,
        )
    results["trial"]["n_controls"] = 99
    strong = report_steering.section(manifest.model_copy(update={"results": results}))
    assert [picture.name for picture in strong.pictures] == ["dose_response"]
    assert strong.pictures[0].numbers["rates"][1]["p_holm"] == 0.02
    assert [found.word for found in strong.findings] == ["used", "used"]
    assert "0.020 after correction for 2 comparisons" in strong.findings[0].text
    for rate in results["trial"]["rates"]:
        rate["p"] = rate["p"] and 0.04
    weak = report_steering.section(manifest.model_copy(update={"results": results}))
    assert {found.word for found in weak.findings} == {"use not shown"}


def test_answers_that_nobody_judged_show_nothing(llama, tmp_path):
    section = report_steering.section(steered(llama, tmp_path, criterion=None))
    assert [found.word for found in section.findings] == ["not measured"]
    assert not section.pictures
    with pytest.raises(DataError, match="not judged by a criterion"):
        visualize_report(tmp_path / "steering.json", tmp_path / "pictures")


def test_what_steering_did_is_drawn_with_its_numbers(llama, tmp_path):
    manifest = steered(llama, tmp_path, criterion="regex:[aeiou]")
    results, reused = visualize_report(tmp_path / "steering.json", tmp_path / "pictures")
    assert ([each["file"] for each in results["figures"]], reused) == (["dose_response.png"], False)
    drawn = read_json(tmp_path / "pictures" / "dose_response.json")["rates"]
    told = manifest.results["trial"]["rates"]
    assert [(one["label"], one["rate"], one["controls"]) for one in drawn] == [
        (one["label"], one["rate"], one["controls"]) for one in told
    ]
    assert visualize_report(tmp_path / "steering.json", tmp_path / "pictures")[1]
    with pytest.raises(ArtifactError, match=r"circuit\.plots/1.* is not drawn"):
        visualize_report(tmp_path / "pictures" / "plots.json", tmp_path / "more")


@pytest.mark.slow
def test_each_verdict_of_a_battery_has_its_own_words(workspace):
    manifest = read_manifest(workspace / "report.json", "circuit.probes/1")
    name, probe = next(iter(manifest.results["probes"].items()))

    def said(verdict, p_battery=0.01):
        changed = deepcopy(probe)
        changed["emergence"]["verdict"] = verdict
        changed["p_battery"] = p_battery
        results = {**manifest.results, "probes": {name: changed}}
        (found,) = report_probes.section(manifest.model_copy(update={"results": results})).findings
        return found

    assert said("selective").strength == 2
    assert said("selective", 0.2).strength == 1
    assert "does not survive" in said("selective", 0.2).text
    assert "not evidence of absence" in said("not decodable").text
    assert len({said(verdict).text for verdict in report_probes.MEANING}) == 7
    for verdict in report_probes.MEANING:
        assert f"{probe['n']} in {probe['n_groups']} groups" in said(verdict).text
        assert "words" in said(verdict).text


@pytest.mark.slow
def test_a_finding_names_no_baseline_that_was_not_run(workspace):
    manifest = read_manifest(workspace / "report.json", "circuit.probes/1")
    name, probe = next(iter(manifest.results["probes"].items()))
    for score in ([0.5, 0.4, 0.6], None):
        for verdict in ("selective", "decodable", "tokens", "unresolved"):
            changed = deepcopy(probe)
            changed["emergence"]["verdict"] = verdict
            for entry in changed["layers"].values():
                entry["random_weights"] = score
            results = {**manifest.results, "probes": {name: changed}}
            section = report_probes.section(manifest.model_copy(update={"results": results}))
            text = section.findings[0].text
            assert ("a model with random weights" in text) == (score is not None)
            assert "the token's own embedding" in text


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
