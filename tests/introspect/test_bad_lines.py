"""Command lines that ask for what there is not: one sentence, a hint and a code, before a model is loaded where that is possible."""

import shlex

import pytest
from in_process import invoke

NOWHERE = "./nowhere"  # an error that does not name it was found before the model was looked for
CODES = {
    f'compare -m1 {NOWHERE} -p "a"': "no-second-model",
    f'compare -m1 {NOWHERE} -m2 {NOWHERE} -p "a|"': "empty-prompt",
    f'compare -m1 {NOWHERE} -m2 {NOWHERE} -p "a" -t ""': "empty-tracked-text",
    f'generate -m {NOWHERE} -p ""': "empty-prompt",
    f'generate -m {NOWHERE} -p "a|b" --expected "x|y|z"': "expected-per-prompt",
    f'generate -m {NOWHERE} -p "a" -c number --expected "x"': "conflicting-options",
    f'format-sensitivity -m {NOWHERE} -p "a||b"': "empty-prompt",
    f'layer -m {NOWHERE} -p "a|b" -l one': "labels-per-prompt",
    f'layer -m {NOWHERE} -p "a"': "too-few-prompts",
    f'activation-diff -b {NOWHERE} -p "a"': "no-second-model",
    f'analyze -m {NOWHERE} -p ""': "empty-prompt",
    f'analyze -m {NOWHERE} -p "a" --lens tuned': "lens-and-file",
    f'analyze -m {NOWHERE} -p "a" --lens sharp': "unknown-lens",
    f'analyze -m {NOWHERE} -p "a" --lens tuned --lens-file no.safetensors': "file-not-found",
    f'analyze -m {NOWHERE} -p "a" -t ""': "empty-tracked-text",
    f'analyze -m {NOWHERE} -p "a" --layer-strategy custom': "no-custom-layers",
    f'analyze -m {NOWHERE} -p "a" --layer-strategy odd': "unknown-layer-strategy",
    f'analyze -m {NOWHERE} -p "a" --all-layers --layer-step 2': "layers-chosen-twice",
    f'ablate -m {NOWHERE} -p "a|" -c x': "empty-prompt",
    f'attention -m {NOWHERE} -p "a||b"': "empty-prompt",
    f'attribute -m {NOWHERE} -p ""': "empty-prompt",
    f"circuit -m {NOWHERE} -d missing.json --keep 1.5": "out-of-range",
    f'tune-lens -m {NOWHERE} -o lens -p "a|b"': "too-few-texts",
    'compare -m1 tiny -m2 tiny -p "a" -t "no such token"': "several-tokens",
    f'generate -m {NOWHERE} -p "a" -c "regex:["': "not-a-pattern",
    f'activation-diff -b {NOWHERE} -f {NOWHERE} -p "@missing.txt"': "read-failed",
    f"weight-diff -b {NOWHERE} -f tiny": "model-not-found",
    f'hooks -m {NOWHERE} -p "a"': "model-not-found",
    "directions missing.npz other.npz": "file-not-found",
    "directions missing.npz other.npz --threshold 2": "threshold-out-of-range",
    f'probe -m {NOWHERE} --class-a "a" --class-b "a"': "prompt-in-both-classes",
    f'probe -m {NOWHERE} --class-a "a" --class-b "b" --method svm': "unknown-probe-method",
    f'probe -m {NOWHERE} --class-a "a" --class-b "b" --save-direction a.pt': "unknown-format",
    f'neurons -m {NOWHERE} -p "a" -l 0': "one-of-options",
    f'neurons -m {NOWHERE} -p "a" -l 0 -n 1 --auto-discover': "one-of-options",
    f'neurons -m {NOWHERE} -p "a" -l 0 -n x': "not-a-neuron",
    f'neurons -m {NOWHERE} -p "a" -n 1': "no-layer",
    f'neurons -m {NOWHERE} -p "a" --from-direction missing.npz': "file-not-found",
    f'ablate -m {NOWHERE} -p "a" -c x --method foo': "unknown-ablation-method",
    f'ablate -m {NOWHERE} -p "a" -c x --component foo': "unknown-component",
    f'ablate -m {NOWHERE} -p "a" -c x --heads 3': "not-a-head",
    f'ablate -m {NOWHERE} -p "a" -c x --heads "3.0,,"': "not-a-head",
    f'ablate -m {NOWHERE} -p "a" -c x --heads -1.4 --layers 0': "conflicting-options",
    f'ablate -m {NOWHERE} -p "a" -c x --neurons 1.4 --component mlp': "conflicting-options",
    f'ablate -m {NOWHERE} -p "a" -c "regex:["': "not-a-pattern",
    f'attention -m {NOWHERE} -p "a" --heads 3': "not-a-head",
    f'attribute -m {NOWHERE} -p "@missing.txt"': "read-failed",
    f"circuit -m {NOWHERE} -d missing.json": "file-not-found",
    f'patch -m {NOWHERE} --clean "" --corrupt "b"': "empty-prompt",
    f'patch -m {NOWHERE} --clean "a"': "no-pair",
    f'patch -m {NOWHERE} --clean "a" --corrupt "b" --align left': "unknown-alignment",
    f'patch -m {NOWHERE} --clean "a" --corrupt "b" --components x': "unknown-component",
    f'probe -m {NOWHERE} --class-a "a" --class-b "b" --label-a ""': "empty-label",
    f'probe -m {NOWHERE} --class-a "a" --class-b "b" --save-probe ""': "path-without-a-name",
    f'tune-lens -m {NOWHERE} -o ""': "path-without-a-name",
    f'ablate -m {NOWHERE} -p "a" -c x --component ""': "unknown-component",
    'ablate -m tiny -p "a" -c x -n 1 --layers ""': "unknown-layers",
    'layer -m tiny -p "a|b" --layers 6': "layer-out-of-range",
    'hooks -m tiny -p "a" --sites nothing': "unknown-site",
    'neurons -m tiny -p "a" -l 0 -n 448': "component-out-of-range",
}


@pytest.mark.parametrize("line", CODES)
def test_bad_lines(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem = invoke(["introspect", *shlex.split(line)]).error
    assert problem is not None
    assert problem.code == CODES[line]
    assert problem.hint
    assert problem.exit_code in (1, 2)
    assert not list(tmp_path.iterdir())
