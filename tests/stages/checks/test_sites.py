"""circuit sites: what a model offers, as it is spelled, shaped and found; and why not the rest."""

import json
from dataclasses import asdict

import pytest
from architectures import CONFIGS
from checkpoints import write_checkpoint
from in_process import invoke

from circuit.model.checkpoint.loading import load_model
from circuit.model.sites.table import SITES
from circuit.stages.checks.sites import list_sites


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    def write(family):
        return str(write_checkpoint(tmp_path_factory.mktemp(family), family, **CONFIGS[family]))

    return {family: write(family) for family in ("llama", "gpt2", "deepseek_v3")}


def report_of(folder):
    report = list_sites(load_model(folder))
    return report, {entry.site: entry for entry in report.sites}


def test_a_llama_offers_every_site(folders):
    report, at = report_of(folders["llama"])
    assert list(at) == list(SITES)
    assert report.missing == []
    assert at["embed"].layers is None
    assert at["resid_post"].module == "model.layers.*"
    assert asdict(at["head_out"]) == {
        "site": "head_out",
        "shape": [4, 32],
        "layers": [0, 1, 2],
        "module": "model.layers.*.self_attn.o_proj",
        "side": "input",
        "transformer_lens": "blocks.*.attn.hook_result",
    }
    assert at["attn_pattern"].shape == [4, "keys"]
    assert at["o_proj"].transformer_lens is None


def test_every_listed_spelling_is_read_as_its_site(folders):
    from circuit.model.checkpoint.loading import load_model
    from circuit.model.sites.sites import parse_sites

    for folder in folders.values():
        model = load_model(folder)
        for entry in list_sites(model).sites:
            layer = 0 if entry.layers is None else entry.layers[0]
            spellings = [entry.site if entry.layers is None else f"{entry.site}.{layer}"]
            if entry.transformer_lens:
                spellings.append(entry.transformer_lens.replace("*", str(layer)))
            for spelling in spellings:
                assert [s.name for s in parse_sites(spelling, [], model)] == [entry.site]


def test_what_some_layers_lack_is_listed_with_the_layers_that_have_it(folders):
    report, at = report_of(folders["deepseek_v3"])
    assert at["gate_proj"].layers == [0]
    missing = {entry.site: entry for entry in report.missing}
    assert missing["gate_proj"].layers == [1, 2]
    assert "experts" in missing["gate_proj"].reason
    assert missing["k_rope"].layers == [0, 1, 2]


def test_the_text_and_the_json(folders):
    text = invoke(["sites", "-m", folders["gpt2"]]).stdout
    assert "attn_pattern  4 x keys  all" in text
    assert "  gate_proj: family `gpt2` has no `gate_proj`: its MLP has no gate" in text
    up = next(line for line in text.splitlines() if line.startswith("up_proj"))
    assert up.split() == [
        "up_proj", "128", "all", "output", "of", "model.h.*.mlp.c_fc", "blocks.*.mlp.hook_pre",
    ]  # fmt: skip
    document = invoke(["sites", "-m", folders["deepseek_v3"], "--json"]).stdout
    assert json.loads(document)["family"] == "deepseek_v3"
    text = invoke(["sites", "-m", folders["deepseek_v3"]]).stdout
    assert "  mlp_act at layers 1-2: block 1 of this `deepseek_v3` model has no `mlp_act`" in text
