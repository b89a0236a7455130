"""The command lines that the project's documents print, with another model and its layers.

Each runs in one process and prints the sections that its document shows.
"""

import json
import shlex

import pytest
from in_process import run

LENS = [
    "Model: tiny",
    "  Family: llama",
    "  Layers: 6",
    "  Hidden size: 160",
    "  Vocab size: ",
    "  Tied embeddings: ",
    "Analyzing: ",
    "Tokens (",
    "Captured layers: [0, ",
    "=== Final Prediction ===",
    "=== Logit Lens (top prediction at each layer) ===",
]
EVOLUTION = [
    "=== Token Evolution ===",
    "Token ' 4' (2 tokens: [' ', '4']",
    "Token '4'",
    "rank",
    "  --> ",
]
SWEEP = ["Baseline: ", "still pass", "Breaks every prompt: "]
LINES = {
    # Quick start.
    'analyze -m tiny -p "The capital of France is"': LENS,
    'analyze -m tiny -p "Hello world" --all-layers': [*LENS, "[0, 1, 2, 3, 4, 5]"],
    'analyze -m tiny -p "2 + 2 =" -t " 4" -t "4"': [*LENS, *EVOLUTION],
    'compare -m1 tiny -m2 tiny -p "prompt"': ["Final Predictions", "Emergence", "other's answer"],
    'ablate -m tiny -p "What\'s the weather?" -c function_call --layers 2-3': SWEEP[:2],
    'ablate -m tiny -p "45 * 45 = " -c "2025" --layers 2,3 --multi': [*SWEEP[:1], "L2+L3"],
    'ablate -m tiny -p x -c x --prompts "10*10=:100|45*45=:2025|47*47=:2209" --layers 2-3': [
        "Baseline: ",
        "'10*10='",
        "'45*45='",
        "'47*47='",
    ],
    'layer -m tiny -p "100 - 37 = |100 - 37 =" -l working,broken --layers 2,4,5': [
        "=== Layer 2: cosines ===",
        "=== Layer 5: cosines ===",
        "working",
        "broken",
        "separation",
    ],
    'format-sensitivity -m tiny -p "156 + 287 =|50 + 25 ="': [
        "=== raw, no blank -> raw, blank ===",
        "Prompt: '156 + 287 ='",
        "Prompt: '50 + 25 ='",
        "Next token: the same for ",
    ],
    'generate -m tiny -p "2 + 2 =" --compare-format --show-tokens': [
        "raw, no blank",
        "raw, blank",
        "chat, no blank",
        "Tokens (",
        "=== Onset of the answer ===",
    ],
    'generate -m tiny -p "2 + 2 =" --raw': ["(raw, ", "Output: ", "Onset: "],
    # The commands one by one.
    'hooks -m tiny -p "The capital of France is"': [
        "=== Captured states ===",
        "resid_post.5",
        "=== Logit Lens ===",
    ],
    "weight-diff -b tiny -f tiny": ["=== Components ===", "attention", "mlp", "by layer"],
    "weight-diff -b tiny -f tiny -o weights.json": ["=== Components ==="],
    'activation-diff -b tiny -f tiny -p "prompt"': ["cosine", "Nothing moved."],
    'activation-diff -b tiny -f tiny -p "a|b|c|d" -o moved.json': ["CKA"],
    'probe -m tiny --class-a "10 + 10 = |45 + 45 = " --class-b "What is it?|Who is it?" '
    "--label-a sum --label-b question -l 3 --method difference --save-direction probe.npz "
    '-t "5 + 5 = " -o probe.json': [
        "Held-out AUROC by layer",
        "=== Test prompts ===",
        "Saved to: probe.npz",
    ],
    'neurons -m tiny -p "10 + 10 = |45 + 45 =" -l 3 --from-direction probe.npz --top-k 10': [
        "Along the direction",
        "=== Activations: '10 + 10 = ' ===",
        "What they promote",
    ],
    'neurons -m tiny -p "10 + 10 = |45 + 45 =" -l 0 -n 1 -n 2 --labels easy,hard': ["easy", "hard"],
    # Every option of the tables.
    'analyze --model tiny --prompt "a" --layer-strategy first_last --top-k 2 '
    "--embedding-scale 1.0 --output lens.json": ["Captured layers: [0, 5]"],
    'analyze -m tiny -p "a" -s 3': ["Captured layers: [0, 3, 5]"],
    'ablate -m tiny -p "a" -c b --component mlp --layers 0,2-3 --raw --max-tokens 2': SWEEP[:2],
    'ablate -m tiny -p "a" -c b --component attention --layers 0 --max-tokens 2': SWEEP[:2],
    'ablate -m tiny -p "a" -c sorry --component both --layers 0 --max-tokens 2': SWEEP[:2],
    # Steering is a question about a model, too.
    'steer -m tiny --extract --positive "100 - 37 = " --negative "100 - 37 =" --layer 3 '
    "-o direction.npz": ["Saved to: direction.npz"],
    'steer -m tiny -d direction.npz -p "50 + 25 =" --compare "-2,-1,0,1,2"': [
        "Comparing steering at coefficients: [-2.0, -1.0, 0.0, 1.0, 2.0]"
    ],
    "directions direction.npz probe.npz --threshold 0.1 -o cosines.json": [
        "Orthogonal: ",
        "Correlated: ",
        "Aligned: ",
    ],
    'hooks -m tiny -p "a" --layers 0,1 --capture-attention --last-only --no-logit-lens': [
        "Attention of the last token"
    ],
    'compare -m1 tiny -m2 tiny -p "prompt" --top-k 2 --track "-"': ["Tracked tokens"],
    'generate -m tiny -p "-2 + 2 =|1 + 1 =" -n 3 -t 0.5 --raw -o answers.json': ["'-2 + 2 ='"],
}
SAVED = {
    "lens.json": "lens",
    "weights.json": "weight-diff",
    "moved.json": "activation-diff",
    "probe.json": "probe",
    "cosines.json": "cosines",
    "answers.json": "generation",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


@pytest.mark.slow
def test_every_line_runs_and_prints_its_sections(folder, monkeypatch):
    """In the order of the documents: what one line writes, a later one reads."""
    for line, sections in LINES.items():
        printed = run(f"introspect {line}", folder, monkeypatch)
        for part in sections:
            assert part in printed, f"{shlex.split(line)[0]}: {part}\n{printed}"
    for name, schema in SAVED.items():
        document = json.loads((folder / name).read_text())
        assert document["schema"] == f"circuit.{schema}/1"
        assert set(document) >= {"parameters", "results", "run"}
