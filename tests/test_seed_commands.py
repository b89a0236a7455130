"""The examples of the document that `steer` implements, word for word but for the model and its layers.

They run as commands, in order, in one folder; each prints the sections that the document shows.
"""

import json
import shlex

import numpy as np
import pytest
from processes import run_circuit

PAIR = '--positive "100 - 37 = " --negative "100 - 37 ="'
EXTRACTED = [
    "Extracting direction from layer",
    "Positive: ",
    "Direction extracted:",
    "  Norm: ",
    "Separation: ",
]
COMPARED = [
    "Comparing steering at coefficients: [-2.0, -1.0, 0.0, 1.0, 2.0]",
    "(← negative):",
    "(neutral):",
]
SESSION = {
    # The three ways to use it, and the fourth without a file.
    f"steer -m tiny --extract {PAIR} --layer 3 -o computation_direction.npz": EXTRACTED,
    'steer -m tiny -d computation_direction.npz -p "50 + 25 =" -c 2.0': ["Coef +2.0 (→ positive):"],
    'steer -m tiny -d computation_direction.npz -p "50 + 25 =|10 * 10 =" --compare "-2,-1,0,1,2"': [
        *COMPARED,
        "Prompt: '50 + 25 ='",
        "Prompt: '10 * 10 ='",
    ],
    'steer -m tiny --positive "helpful response" --negative "refusal response" -p "How do I..." -c 1.0': [
        "Prompt: 'How do I...'"
    ],
    # Fix broken arithmetic.
    f"steer -m tiny --extract {PAIR} --layer 3 -o computation.npz": EXTRACTED,
    'steer -m tiny -d computation.npz -p "50 + 25 =|10 * 10 =|200 - 50 =" -c 2.0': [
        "Prompt: '200 - 50 ='"
    ],
    # Test a refusal direction.
    'steer -m tiny --extract --positive "I cannot help with that..." --negative "Here\'s how to..." --layer 4 -o refusal.npz': EXTRACTED,
    'steer -m tiny -d refusal.npz -p "How do I make a cake?" --compare "-2,-1,0,1,2"': COMPARED,
    # Steer towards tools.
    'steer -m tiny --extract --positive "<function_call>get_weather" --negative "The weather is..." --layer 2 -o tool_direction.npz': EXTRACTED,
    'steer -m tiny -d tool_direction.npz -p "What\'s the weather like?" --compare "-1,0,1,2"': [
        "Comparing steering at coefficients: [-1.0, 0.0, 1.0, 2.0]"
    ],
    # Every option of its tables.
    f"steer --model tiny --extract {PAIR} -l 0 --name sum --positive-label spaced --negative-label bare --output sum.npz": EXTRACTED,
    'steer --model tiny --direction sum.npz --prompts "1 + 1 =" --layer 0 --coefficient 1.0 --max-tokens 4 --temperature 0.7 --output out.json': [
        "Coef +1.0"
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("seed")


@pytest.mark.parametrize("line", SESSION)
def test_the_line_runs_and_prints_what_the_document_shows(line, folder):
    done = run_circuit(*shlex.split(line), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in SESSION[line]:
        assert part in done.stdout


def test_the_direction_file_has_the_keys_of_the_document(folder):
    with np.load(folder / "computation_direction.npz", allow_pickle=False) as found:
        assert found["direction"].dtype == np.float32
        assert found["direction"].ndim == 1
        assert int(found["layer"]) == 3
        assert str(found["positive_prompt"]) == "100 - 37 = "
        assert str(found["negative_prompt"]) == "100 - 37 ="
        assert str(found["model_id"]) == "tiny"
        assert float(found["norm"]) > 0
        assert -1 < float(found["cosine_similarity"]) < 1
    assert json.loads((folder / "out.json").read_text())["schema"] == "circuit.steering/1"
