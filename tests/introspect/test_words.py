"""Messages about one prompt, failing prompts and labels are English and name existing options."""

import pytest
from in_process import invoke

from circuit.errors import UsageError
from circuit.introspect.ablation.components import ComponentChoice
from circuit.introspect.inputs.cases import criterion_cases
from circuit.introspect.inputs.per_prompt import labels_of
from circuit.introspect.questions.ablate import ablate, present
from circuit.present.terminal import terminal
from circuit.stages.rows.prompt_input import PromptInput
from circuit.values.prompt_format import RAW


def test_an_ablation_says_what_it_leaves_out(llama):
    ablations = ComponentChoice(component="mlp", layers="0").ablations(llama)
    options = {"form": RAW, "max_tokens": 1}
    for n, method, said in (
        (1, "zero", ["Ablation: to zero; 1 prompt, raw", "0 of 1 pass; 1 prompt left out"]),
        (2, "mean", ["Ablation: by mean of the neutral", "0 of 2 pass; 2 prompts left out"]),
    ):
        cases = criterion_cases(["a", "b"][:n], "no such answer")
        study = ablate(llama, cases, ablations, method=method, **options)
        text = terminal(present(study))
        assert all(part in text for part in said)
        (row,) = [line.split() for line in text.splitlines() if "no prompt passed" in line]
        assert row == ["L0", "no", "prompt", "passed", "-"]


@pytest.mark.parametrize(
    "line",
    [
        "attention -m tiny -p a",
        "attribute -m tiny -p a",
        "format-sensitivity -m tiny -p a --layers 0 -n 1",
    ],
)
def test_one_prompt_is_one_prompt(line):
    done = invoke(["introspect", *line.split()])
    assert "1 prompt" in done.output
    assert "1 prompts" not in done.output


def test_the_hint_of_labels_names_their_option():
    with pytest.raises(UsageError) as problem:
        labels_of(PromptInput(["a", "b"]), "a")
    assert "--labels working,broken" in problem.value.hint
