"""A GGUF file is the checkpoint that it was converted from, or is refused in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from errors import raises
from gguf_files import (
    FAMILIES,
    NASTY,
    TRAINING,
    pre_tokenizers,
    tokenizer_of,
    trained_tokenizer,
    write_gguf,
)
from processes import run_circuit

from circuit.errors import ModelError
from circuit.model.checkpoint.files import find_folder, read_config
from circuit.model.checkpoint.gguf import cache
from circuit.model.checkpoint.gguf.contents import open_contents
from circuit.model.checkpoint.gguf.splits import SPLITS
from circuit.model.checkpoint.loading import load_model
from circuit.model.machine.runtime import cache_folder
from circuit.model.sites.sites import hidden_states
from circuit.values.sites import Site

IDS = mx.array([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])


def states(model):
    """Return what every block returns, and the logits."""
    sites = [Site("resid_post", layer) for layer in range(model.n_layers)]
    found = hidden_states(model, IDS, sites)
    return [np.array(found[site]) for site in sites] + [np.array(model.network(IDS))]


def weights(folder):
    return {
        k: np.array(v)
        for file in sorted(Path(folder).glob("*.safetensors"))
        for k, v in mx.load(str(file)).items()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A Llama with a tokenizer as GGUF; its checkpoint folder has the same name without the ending."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(path)
    return path


@pytest.fixture(scope="module")
def folder(small):
    return find_folder(str(small))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gguf_file_is_the_checkpoint_that_it_was_converted_from(tmp_path, family):
    original = load_model(str(write_gguf(tmp_path / "m.gguf", family)))
    read = load_model(str(tmp_path / "m.gguf"))
    assert read.family == FAMILIES[family][0]
    assert read.context_length == original.context_length
    for ours, theirs in zip(states(read), states(original), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    for text in NASTY:
        assert read.tokenizer.encode(text) == original.tokenizer.encode(text)
        assert read.tokenizer.decode(read.tokenizer.encode(text)) == original.tokenizer.decode(
            original.tokenizer.encode(text)
        )
    assert read.tokenizer.chat_template == original.tokenizer.chat_template
    assert read.tokenizer.eos_token_ids == original.tokenizer.eos_token_ids


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q8_0"])
def test_quantised_weights_are_those_of_the_gguf_package(tmp_path, kind):
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    original = write_gguf(tmp_path / "m.gguf", "qwen2", kind=kind)
    read, stored = weights(find_folder(str(tmp_path / "m.gguf"))), GGMLQuantizationType[kind]
    for name, array in weights(original).items():
        wanted = dequantize(quantize(array, stored), stored) if array.ndim > 1 else array
        np.testing.assert_array_equal(read[name], wanted)
        assert read[name].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "held"), [("BF16", "bfloat16"), ("F16", "float16"), ("F32", "float32")]
)
def test_weights_are_kept_in_the_smallest_dtype_that_holds_them(tmp_path, kind, held):
    dtype = "float32" if held == "float32" else held
    write_gguf(tmp_path / "m.gguf", kind=kind, dtype=dtype)
    folder = find_folder(str(tmp_path / "m.gguf"))
    original = mx.load(str(tmp_path / "m" / "model.safetensors"))
    for file in folder.glob("*.safetensors"):
        for name, array in mx.load(str(file)).items():
            assert str(array.dtype) == f"mlx.core.{held}"
            assert mx.array_equal(array, original[name])


def test_half_precision_with_wider_norms_is_kept_in_float32(tmp_path):
    write_gguf(
        tmp_path / "m.gguf",
        kind="F16",
        dtype="float16",
        tensors={"output_norm.weight": np.full(32, 1 / 3, np.float32)},
    )
    assert (
        json.loads((find_folder(str(tmp_path / "m.gguf")) / "config.json").read_text())["dtype"]
        == "float32"
    )


ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONG = {
    "rope_type": "longrope",
    "long_factor": [1.0, 1.5, 2.0, 7.0],
    "short_factor": [1.0, 1.5, 2.0, 7.0],
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def llama3_factors():
    """convert_hf_to_gguf.py: what each of four frequencies with the base 500,000 is divided by."""
    wavelengths = [2 * np.pi * 500_000 ** (i / 4) for i in range(4)]
    smooth = [(8192 / w - 1) / 3 for w in wavelengths]
    mixed = [1 / ((1 - s) / 8 + s) for s in smooth]
    return [
        1.0 if w < 2048 else 8.0 if w > 8192 else m for w, m in zip(wavelengths, mixed, strict=True)
    ]


@pytest.mark.parametrize(
    ("family", "scaling", "keys", "factors"),
    [
        ("llama", ROPE, {}, llama3_factors()),
        ("llama", LONG, {}, LONG["long_factor"]),
        ("qwen2", YARN, {"type": "yarn", "factor": 4.0, "original_context_length": 64}, None),
        ("llama", {"rope_type": "linear", "factor": 2.0}, {"type": "linear", "factor": 2.0}, None),
        ("gemma3", {"rope_type": "linear", "factor": 8.0}, {"type": "linear", "factor": 8.0}, None),
    ],
)
def test_scaled_positions_are_those_of_the_checkpoint(tmp_path, family, scaling, keys, factors):
    changes = {f"{family}.rope.scaling.{key}": value for key, value in keys.items()}
    tensors = {} if factors is None else {"rope_freqs.weight": np.array(factors, np.float32)}
    own = {"rope_scaling": {**scaling, "type": scaling["rope_type"]}, "rope_theta": 500_000.0}
    original = write_gguf(tmp_path / "m.gguf", family, changes=changes, tensors=tensors, **own)
    read = load_model(str(tmp_path / "m.gguf"))
    for ours, theirs in zip(states(read), states(load_model(str(original))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert read.config["rope_scaling"]["type"] == scaling["rope_type"]


def test_long_and_short_factors_of_phi_3_are_written(tmp_path):
    factors = {
        f"rope_factors_{n}.weight": np.array(f, np.float32)
        for n, f in (("long", [2, 3]), ("short", [1, 1.5]))
    }
    keys = {
        "phi3.rope.scaling.original_context_length": 64,
        "phi3.rope.scaling.attn_factor": float(np.sqrt(1 + np.log(4) / np.log(64))),
    }
    write_gguf(tmp_path / "m.gguf", "phi3", tensors=factors, changes=keys)
    config = read_config(load_model(str(tmp_path / "m.gguf")).folder)
    assert config["original_max_position_embeddings"] == 64
    assert config["rope_scaling"]["long_factor"] == [2.0, 3.0]
    assert config["rope_scaling"]["short_factor"] == [1.0, 1.5]


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o"])
def test_a_text_is_cut_as_the_models_own_tokenizer_cuts_it(tmp_path, small, name):
    reference = trained_tokenizer(pre_tokenizers(name), ignore_merges=SPLITS[name].whole_words)
    folder = shutil.copytree(small.with_suffix(""), tmp_path / "m")
    reference.save(str(folder / "tokenizer.json"))
    write_gguf(tmp_path / "m.gguf", folder=folder, changes={"tokenizer.ggml.pre": name})
    read = load_model(str(tmp_path / "m.gguf")).tokenizer
    for text in (*NASTY, *TRAINING):
        assert read.encode(text) == reference.encode(text).ids, text


def test_the_default_cut_is_that_of_llama_cpp(tmp_path):
    """Runs of punctuation are pieces of their own, and digits are cut in threes."""
    from tokenizers import Regex
    from tokenizers import pre_tokenizers as cuts

    rule = [cuts.Split(Regex(each), behavior="isolated") for each in SPLITS["default"].patterns]
    pieces = [piece for piece, _ in cuts.Sequence(rule).pre_tokenize_str("say, 1234567 a--b it's")]
    assert pieces == ["say", ",", " ", "123", "456", "7", " a", "--", "b", " it", "'", "s"]


def sentencepiece_model(folder, **options):
    """Train a SentencePiece model and return its processor and its GGUF metadata."""
    import sentencepiece

    (folder / "text").write_text("\n".join(text.replace("\n", " ") for text in TRAINING * 4))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "sp"), model_type="bpe", vocab_size=380, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=1.0, minloglevel=2, **options,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    numbers = range(model.get_piece_size())
    kinds = [
        2 if model.is_unknown(n) else 3 if model.is_control(n) else 6 if model.is_byte(n) else 1
        for n in numbers
    ]
    return model, {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.merges": None,
        "tokenizer.ggml.tokens": [model.id_to_piece(n) for n in numbers],
        "tokenizer.ggml.scores": [float(model.get_score(n)) for n in numbers],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
        "tokenizer.ggml.padding_token_id": None,
    }


@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_tokenizer_gives_the_tokens_of_sentencepiece(tmp_path, small, prefix):
    model, metadata = sentencepiece_model(tmp_path, add_dummy_prefix=prefix)
    metadata["tokenizer.ggml.add_space_prefix"] = prefix
    write_gguf(tmp_path / "m.gguf", folder=small.with_suffix(""), changes=metadata)
    read = load_model(str(tmp_path / "m.gguf")).tokenizer
    for text in (*TRAINING, *(text for text in NASTY if "<s>" not in text and "\x00" not in text)):
        ids = model.encode(text)
        assert read.encode(text) == [model.bos_id(), *ids], text
        assert read.encode(text, add_special_tokens=False) == ids, text
        assert read.decode(ids) == model.decode(ids)


def test_control_tokens_are_matched_whole_and_user_defined_ones_too(tmp_path, small):
    folder = small.with_suffix("")
    types = tokenizer_of(folder)["tokenizer.ggml.token_type"]
    user = tokenizer_of(folder)["tokenizer.ggml.tokens"].index("<use>")
    types[user] = 4
    write_gguf(tmp_path / "m.gguf", folder=folder, changes={"tokenizer.ggml.token_type": types})
    tokenizer = load_model(str(tmp_path / "m.gguf")).tokenizer
    ids = tokenizer.encode("a<use>b</m>", add_special_tokens=False)
    assert user in ids
    assert tokenizer.eos_token_id in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<use>b"


def test_every_token_that_ends_an_answer_is_an_end_token(tmp_path, small):
    folder = small.with_suffix("")
    tokens = tokenizer_of(folder)["tokenizer.ggml.tokens"]
    where = tokens.index("<t>")
    tokens[where] = "<|im_end|>"
    write_gguf(tmp_path / "m.gguf", folder=folder, changes={"tokenizer.ggml.tokens": tokens})
    read = load_model(str(tmp_path / "m.gguf"))
    assert read.tokenizer.eos_token_ids == {tokens.index("</m>"), where}


def test_first_token_is_added_where_the_file_asks_for_it(tmp_path, small):
    folder = small.with_suffix("")
    for added in (True, False):
        path = tmp_path / f"{added}.gguf"
        write_gguf(path, folder=folder, changes={"tokenizer.ggml.add_bos_token": added})
        model = load_model(str(path))
        assert model.tokenizer_identity.bos == ("tokenizer" if added else "none")


def test_identity_names_the_file_and_its_digest(small, folder):
    import hashlib

    model = load_model(str(small))
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    assert model.identity.id == str(small)
    assert model.identity.revision == f"sha256:{digest}"
    assert model.identity.quantization["tensors"] == {"F32": len(weights(folder))}
    assert model.gguf.sha256 == digest
    assert load_model(str(small.with_suffix(""))).gguf is None


def test_the_digest_of_the_weights_is_that_of_their_bytes(folder):
    """The files have their digests as names, so that gigabytes are not read again for every manifest."""
    import hashlib

    from circuit.model.checkpoint.identity import weight_files, weights_digest

    lines = [
        f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n"
        for file in weight_files(folder)
    ]
    assert weights_digest(folder, None) == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert [file.resolve().name for file in weight_files(folder)] == [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in weight_files(folder)
    ]


def test_a_file_of_another_name_is_the_same_checkpoint(tmp_path, small, folder):
    other = shutil.copy(small, tmp_path / "other.gguf")
    assert find_folder(str(other)) == folder
    assert find_folder(str(tmp_path)) == folder  # the folder of one file and no config.json


def test_parts_are_one_model(tmp_path, small, folder):
    from gguf import GGUFReader, GGUFWriter

    reader = GGUFReader(small)
    for number in (1, 2):
        writer = GGUFWriter(tmp_path / f"m-0000{number}-of-00002.gguf", "llama")
        if number == 1:
            for name, field in reader.fields.items():
                if not name.startswith(("GGUF.", "general.architecture")):
                    sub = field.types[-1] if len(field.types) > 1 else None
                    writer.add_key_value(name, field.contents(), field.types[0], sub)
        writer.add_uint16("split.no", number - 1)
        writer.add_uint16("split.count", 2)
        for tensor in reader.tensors[number - 1 :: 2]:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    for given in (tmp_path, tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"):
        read = weights(find_folder(str(given)))
        assert read.keys() == weights(folder).keys()
        assert all((read[name] == array).all() for name, array in weights(folder).items())
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with raises(ModelError, "gguf-part-missing", missing=["m-00002-of-00002.gguf"]):
        find_folder(str(tmp_path))
    (tmp_path / "m-00001-of-00002.gguf").rename(tmp_path / "alone.gguf")
    with raises(ModelError, "gguf-part-missing"):
        find_folder(str(tmp_path / "alone.gguf"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCUIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


def test_an_interrupted_run_resumes_after_its_last_shard(own_cache, small, folder, monkeypatch):
    """A killed run leaves whole shards, an unfinished one, and no folder of the final name."""
    monkeypatch.setattr(cache, "_SHARD", 20_000)
    seen = []
    write, shards = cache._write_shard, []

    def killed_at_third(plan, path, parameters):
        shards.append(path.name)
        if len(shards) == 3:
            path.with_name(f"unfinished-{path.name}").write_bytes(b"half")
            raise KeyboardInterrupt
        write(plan, path, parameters)

    monkeypatch.setattr(cache, "_write_shard", killed_at_third)
    with pytest.raises(KeyboardInterrupt):
        find_folder(str(small))
    [partial] = own_cache.glob("*.partial")
    kept = {path: path.stat().st_mtime_ns for path in partial.glob("model-*")}
    assert len(kept) == 2
    assert [path for path in own_cache.iterdir() if path.is_dir()] == [partial]
    read = cache.Contents.read
    monkeypatch.setattr(cache, "_write_shard", write)
    monkeypatch.setattr(
        cache.Contents, "read", lambda self, name: seen.append(name) or read(self, name)
    )
    made = find_folder(str(small))
    assert {made / path.name: time for path, time in kept.items()} == {
        made / p.name: (made / p.name).stat().st_mtime_ns for p in kept
    }
    assert not list(made.glob("unfinished*"))
    assert {k: v.tolist() for k, v in weights(made).items()} == {
        k: v.tolist() for k, v in weights(folder).items()
    }


def test_two_processes_at_once_make_one_folder(own_cache, small):
    code = f"import circuit.model; from circuit.model.checkpoint.files import find_folder; print(find_folder({str(small)!r}))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = {run.communicate()[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert said == {str(path) for path in own_cache.iterdir() if path.is_dir()}
    assert len(said) == 1


def refusal(tmp_path, code, family="llama", **given):
    """Write a file with one fault and expect its refusal, with nothing kept."""
    fields = given.pop("fields", {})
    write_gguf(tmp_path / "bad.gguf", family, **given)
    with raises(ModelError, code, **fields) as caught:
        find_folder(str(tmp_path / "bad.gguf"))
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_an_unknown_family_is_named(tmp_path, small):
    from gguf_files import save

    save(
        tmp_path / "m.gguf",
        "mamba",
        {"mamba.block_count": 2},
        {"token_embd.weight": np.ones((4, 4), np.float32)},
        "F32",
    )
    with raises(ModelError, "gguf-family-unknown", family="mamba"):
        find_folder(str(tmp_path / "m.gguf"))


def test_an_unknown_quantisation_is_named(tmp_path, small):
    data = bytearray(small.read_bytes())
    name = b"output_norm.weight"
    at = data.index(name) + len(name) + 4 + 8  # after the number of dimensions and the only one
    for number, named in ((99, "number 99"), (15, "Q8_K")):
        data[at : at + 4] = number.to_bytes(4, "little")
        (tmp_path / "m.gguf").write_bytes(data)
        with raises(ModelError, "quantisation-unknown" if number == 99 else "gguf-damaged"):
            find_folder(str(tmp_path / "m.gguf"))
        assert named
    whole = data[:at] + (24).to_bytes(4, "little") + data[at + 4 :]  # I8: not a kind of weights
    (tmp_path / "m.gguf").write_bytes(whole)
    with raises(ModelError, "quantisation-unknown", quantisation="I8", tensor="output_norm.weight"):
        find_folder(str(tmp_path / "m.gguf"))


@pytest.mark.parametrize("kept", [0, 3, 4, 10, 100, 3_000, 20_000, -32])
def test_a_truncated_file_is_refused(tmp_path, small, kept):
    data = small.read_bytes()
    (tmp_path / "m.gguf").write_bytes(data[:kept])
    with raises(ModelError, "gguf-damaged" if kept not in (0, 3) else "not-gguf"):
        find_folder(str(tmp_path / "m.gguf"))


@pytest.mark.parametrize("pattern", [3, [True, True, False, True, True, False, True]])
def test_the_pattern_of_windows_is_read(tmp_path, pattern):
    changes = {
        "gemma3.attention.sliding_window_pattern": pattern,
        "gemma3.rope.freq_base_swa": 20_000.0,
    }
    original = write_gguf(
        tmp_path / "m.gguf",
        "gemma3",
        changes=changes,
        sliding_window_pattern=3,
        rope_local_base_freq=20_000.0,
    )
    read = load_model(str(tmp_path / "m.gguf"))
    for ours, theirs in zip(states(read), states(load_model(str(original))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    irregular = {
        "gemma3.attention.sliding_window_pattern": [True, True, False, False, True, False, True]
    }
    refusal(tmp_path, "gguf-setting-unknown", "gemma3", changes=irregular)


@pytest.mark.parametrize(("window", "longest"), [(0, 256), (47, 47)])
def test_a_window_of_no_tokens_is_none(tmp_path, window, longest):
    """Phi-4's files say 0."""
    write_gguf(tmp_path / "m.gguf", "phi3", changes={"phi3.attention.sliding_window": window})
    assert load_model(str(tmp_path / "m.gguf")).context_length == longest


def test_what_is_no_gguf_file_is_refused(tmp_path):
    (tmp_path / "m.gguf").write_text("{}")
    with raises(ModelError, "not-gguf", path=str(tmp_path / "m.gguf")):
        find_folder(str(tmp_path / "m.gguf"))
    (tmp_path / "m.bin").write_text("{}")
    with raises(ModelError, "model-not-found"):
        find_folder(str(tmp_path / "m.bin"))
    with raises(ModelError, "model-not-found"):
        find_folder(str(tmp_path / "none.gguf"))


def test_a_steering_vector_is_not_a_model(tmp_path):
    from gguf_files import save

    save(
        tmp_path / "v.gguf",
        "controlvector",
        {"controlvector.layer_count": 1},
        {"direction.1": np.ones(8, np.float32)},
        "F32",
    )
    with raises(ModelError, "not-a-model") as caught:
        find_folder(str(tmp_path / "v.gguf"))
    assert "-d" in caught.value.hint


def test_an_adapter_is_not_a_model(tmp_path):
    refusal(
        tmp_path, "not-a-model", changes={"general.type": "adapter"}, fields={"type": "adapter"}
    )


def test_a_file_without_a_tokenizer_is_refused(tmp_path):
    gone = {"tokenizer.ggml.model": None, "tokenizer.ggml.tokens": None}
    refusal(tmp_path, "tokenizer-missing", changes=gone)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("tokenizer.ggml.model", "bert", "tokenizer-unknown"),
        ("tokenizer.ggml.pre", "of-tomorrow", "tokenizer-unknown"),
        ("tokenizer.ggml.pre", None, "pre-tokenizer-missing"),
        ("tokenizer.ggml.bos_token_id", 7_000, "tokenizer-unknown"),
        ("tokenizer.ggml.bos_token_id", None, "tokenizer-unknown"),
        ("tokenizer.ggml.merges", ["x y z", "not tokens"], "tokenizer-unknown"),
        ("tokenizer.ggml.merges", None, "gguf-key-missing"),
        ("tokenizer.ggml.token_type", [1, 1], "tokenizer-unknown"),
        ("tokenizer.ggml.tokens", ["a", "a", "b"], "tokenizer-unknown"),
        ("tokenizer.ggml.tokens", [1, 2], "gguf-key-unreadable"),
        ("llama.attention.clamp_kqv", 8.0, "gguf-setting-unknown"),
        ("llama.attention.sliding_window", 16, "gguf-setting-unknown"),
        ("llama.expert_count", 8, "gguf-setting-unknown"),
        ("llama.rope.dimension_count", 4, "gguf-setting-unknown"),
        ("llama.attention.value_length", 4, "gguf-setting-unknown"),
        ("llama.of_tomorrow", True, "gguf-setting-unknown"),
        ("llama.rope.scaling.type", "longrope", "rope-scaling-unknown"),
        ("llama.block_count", None, "gguf-key-missing"),
        ("llama.block_count", "three", "gguf-key-unreadable"),
        ("llama.block_count", 4, "tensor-missing"),
        ("llama.block_count", 2, "tensor-unknown"),
        ("llama.feed_forward_length", [64, 64, 64], "gguf-key-unreadable"),
        ("llama.embedding_length", 64, "tensor-shape-unexpected"),
        ("llama.attention.layer_norm_rms_epsilon", float("nan"), "gguf-key-unreadable"),
    ],
)  # fmt: skip
def test_foreign_metadata_are_checked(tmp_path, key, value, code):
    refusal(
        tmp_path,
        code,
        changes={key: value},
        fields={"key": key} if value is not None and "tensor" not in code else {},
    )


def test_tensors_are_those_of_the_family(tmp_path):
    ones = np.ones((4, 4), np.float32)
    refusal(
        tmp_path / "a",
        "tensor-unknown",
        tensors={"blk.0.extra.weight": ones},
        fields={"tensor": "blk.0.extra.weight"},
    )
    refusal(
        tmp_path / "b",
        "tensor-missing",
        tensors={"blk.1.attn_q.weight": None},
        fields={"tensor": "blk.1.attn_q.weight"},
    )
    refusal(tmp_path / "c", "tensor-shape-unexpected", tensors={"blk.1.attn_q.weight": ones})


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path):
    refusal(tmp_path, "vocabulary-mismatch", vocab_size=300, changes={}, fields={"n_rows": 300})


def test_several_files_of_one_folder_are_named(tmp_path, small):
    for name in ("a.gguf", "b.gguf"):
        shutil.copy(small, tmp_path / name)
    with raises(ModelError, "several-gguf-files", files=["a.gguf", "b.gguf"]):
        find_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert find_folder(str(tmp_path)) == tmp_path


def test_revision_does_not_apply_to_a_file(small):
    with raises(ModelError, "option-not-applicable"):
        find_folder(str(small), "main")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, small, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "gguf").write_text("a file")
    monkeypatch.setenv("CIRCUIT_CACHE", str(tmp_path / "cache"))
    with raises(ModelError, "cache-not-writable", path=str(tmp_path / "cache" / "gguf")):
        find_folder(str(small))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_still_serves_what_it_has(small, folder):
    folder.parent.chmod(0o555)
    try:
        assert find_folder(str(small)) == folder
    finally:
        folder.parent.chmod(0o755)


def test_too_little_space_is_said_before_anything_is_written(own_cache, small, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with raises(ModelError, "no-space-left", path=str(own_cache)):
        find_folder(str(small))
    assert not list(own_cache.glob("*.partial/model*"))


def test_memory_holds_one_shard_at_a_time(small):
    plan = cache._plan(open_contents([small]))
    assert [name for shard in plan.shards for name in shard] == list(plan.sources)
    assert plan.n_bytes() == sum(array.nbytes for array in weights(small.with_suffix("")).values())
    assert replace(plan, dtype="float16").n_bytes() * 2 == plan.n_bytes()


def test_commands_take_a_gguf_file(tmp_path, small):
    """doctor says what was read; collect names the file, and a second run reuses its archive."""
    shutil.copy(small, tmp_path / "small.gguf")
    told = run_circuit("doctor", "-m", "small.gguf", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    for text in (
        "small.gguf",
        "llama",
        "F32",
        "byte-level BPE, split gpt-2",
        "Chat template: yes",
        "256 tokens",
        str(cache_folder()),
    ):
        assert text in told.stdout
    prompts = {
        "schema": "circuit.prompts/1",
        "name": "few",
        "prompts": [{"text": t} for t in ("one", "two words")],
    }
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    line = ("collect", "-m", "small.gguf", "-d", "prompts.json", "--raw", "-o", "states")
    assert run_circuit(*line, cwd=tmp_path).returncode == 0
    manifest = json.loads((tmp_path / "states.json").read_text())
    assert manifest["model"]["id"] == "small.gguf"
    assert manifest["model"]["revision"].startswith("sha256:")
    again = run_circuit(*line, cwd=tmp_path)
    assert again.returncode == 0
    assert (
        "reuse" in (again.stdout + again.stderr).lower()
        or "unchanged" in (again.stdout + again.stderr).lower()
    ), again.stderr


def test_a_gguf_file_that_is_not_there_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(ModelError, "model-not-found"):
        find_folder("nowhere.gguf")
