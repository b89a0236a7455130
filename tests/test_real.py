"""SmolLM2-135M-Instruct as a GGUF file, through the commands: what holds for random weights holds for trained ones."""

import json

import pytest
from gguf_files import NASTY, TRAINING, pre_tokenizers
from processes import run_circuit

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def model(smollm2):
    from circuit.model.checkpoint.loading import load_model

    return load_model(str(smollm2))


def test_doctor_says_what_was_read_and_the_model_passes(smollm2, tmp_path):
    told = run_circuit("doctor", "-m", str(smollm2), "--json", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    test = json.loads(told.stdout)["self_test"]
    assert test["passed"]
    read = test["gguf"]
    assert (read["family"], read["basename"], read["context_length"]) == ("llama", "smollm2", 8192)
    assert read["quantisation"] == {"F32": 61, "Q4_1": 210, "Q8_0": 1}
    assert read["tokenizer"] == "byte-level BPE, split smollm"
    assert read["chat_template"]


def test_its_tokens_are_those_of_its_own_tokenizer(smollm2, model):
    """Its tokenizer.json cuts off each digit and then as GPT-2 does; the vocabulary and merges are read here again."""
    from gguf import GGUFReader
    from tokenizers import Tokenizer, models

    fields = {
        name: GGUFReader(smollm2).fields[f"tokenizer.ggml.{name}"]
        for name in ("tokens", "merges", "token_type")
    }
    tokens, merges, types = (field.contents() for field in fields.values())
    vocabulary = {token: number for number, token in enumerate(tokens)}
    reference = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[tuple(m.split(" ")) for m in merges])
    )
    reference.pre_tokenizer = pre_tokenizers("smollm")
    reference.add_special_tokens(
        [token for token, kind in zip(tokens, types, strict=True) if kind == 3]
    )
    texts = (*NASTY, *TRAINING, "<|im_start|>user\nHi <|im_end|>\n<|endoftext|>", "1 2  3   45")
    for text in texts:
        assert model.tokenizer.encode(text) == reference.encode(text).ids, text
    rendered = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_it_answers_as_a_trained_model_does(smollm2, tmp_path):
    line = (
        "introspect",
        "generate",
        "-m",
        str(smollm2),
        "-p",
        "What is the capital of France?",
        "--chat",
        "-n",
        "24",
    )
    told = run_circuit(*line, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "Paris" in told.stdout


def test_states_are_collected_once(smollm2, tmp_path):
    prompts = [{"text": text} for text in ("The sun rises.", "Der Mond geht auf.", "12 + 30 = ")]
    (tmp_path / "few.json").write_text(
        json.dumps({"schema": "circuit.prompts/1", "name": "few", "prompts": prompts})
    )
    line = (
        "collect",
        "-m",
        str(smollm2),
        "-d",
        "few.json",
        "--raw",
        "--layers",
        "0,15,29",
        "-o",
        "states",
    )
    assert run_circuit(*line, cwd=tmp_path).returncode == 0
    written = (tmp_path / "states.safetensors").stat().st_mtime_ns
    manifest = json.loads((tmp_path / "states.json").read_text())
    assert manifest["model"]["revision"].startswith("sha256:b179c9523d0e6a0f")
    assert manifest["model"]["quantization"]["tensors"]["Q4_1"] == 210
    assert run_circuit(*line, cwd=tmp_path).returncode == 0
    assert (tmp_path / "states.safetensors").stat().st_mtime_ns == written
