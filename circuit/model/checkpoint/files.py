"""A checkpoint on disk: its folder, downloaded or made of a GGUF file, and its configuration."""

import re
from pathlib import Path
from typing import Any

from circuit.errors import ModelError, reason_of
from circuit.model.checkpoint.gguf.files import gguf_files
from circuit.values.json_values import parse_json

ASSETS = Path(__file__).parents[2] / "assets"
Config = dict[str, Any]  # config.json, as mlx-lm reads it


def find_folder(model_id: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint, downloading it when it is an id on the hub.

    That of a GGUF file is in the cache: see ``circuit.model.checkpoint.gguf``.
    """
    builtin, local = ASSETS / model_id, Path(model_id).expanduser()
    here = builtin if "/" not in model_id and builtin.is_dir() else local
    files = gguf_files(here)
    if (files or here.is_dir()) and revision is not None:
        raise ModelError(
            "option-not-applicable",
            f"`{model_id}` is on this machine: `--revision` does not apply",
            hint="leave out --revision, or give the id of a model on the hub",
            option="--revision",
        )
    if files:
        from circuit.model.checkpoint.gguf.cache import checkpoint_of

        return checkpoint_of(files)
    if here.is_dir():
        return here
    is_path = model_id.startswith((".", "/", "~")) or model_id.endswith(".gguf")
    if local.exists() or is_path or model_id.count("/") > 1:
        raise ModelError(
            "model-not-found",
            f"`{model_id}` is neither a folder with a checkpoint nor a GGUF file",
            hint="give a checkpoint folder, a GGUF file, a hub id such as org/name, or tiny",
            model=model_id,
        )
    return _download(model_id, revision)


def _download(model_id: str, revision: str | None) -> Path:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from mlx_lm.utils import _download as download

    try:
        return Path(download(model_id, revision=revision))
    except HFValidationError as error:
        raise ModelError(
            "model-not-found",
            f"`{model_id}` is neither a folder nor an id on the Hugging Face hub",
            hint="a hub id looks like org/name",
            model=model_id,
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            "hub-unreachable",
            f"model `{model_id}` is not in the local cache and the hub cannot be reached",
            hint="check the name and the network, or give the path of a checkpoint folder",
            model=model_id,
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = reason_of(error)
        raise ModelError(
            "download-failed",
            f"model `{model_id}` cannot be downloaded: {reason}",
            hint="check the name, the revision and your access",
            model=model_id,
        ) from error


def read_config(folder: Path) -> Config:
    """Read ``config.json`` of a checkpoint folder, and the end tokens of its generation.

    ``generation_config.json``, where it names end tokens, is what transformers and mlx-lm stop at.
    """
    path, beside = folder / "config.json", folder / "generation_config.json"
    if not path.exists():
        raise ModelError(
            "config-missing",
            f"`{folder}` has no `config.json`, so it is not a checkpoint",
            hint="give the folder that holds config.json and model.safetensors",
            folder=str(folder),
        )
    config, generation = _read(path), _read(beside) if beside.exists() else {}
    if isinstance(config, dict) and isinstance(generation, dict):
        ends = generation.get("eos_token_id", config.get("eos_token_id"))
        config = config if ends is None else {**config, "eos_token_id": ends}
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            "model-type-missing",
            f"`{path}` has no `model_type`",
            hint="mlx-lm needs it to choose the model",
            path=str(path),
        )
    return config


def _read(path: Path) -> object:
    try:
        return parse_json(path.read_bytes(), finite=False)
    except ValueError as error:
        raise ModelError(
            "not-json",
            f"`{path}` is not JSON: {error}",
            hint="download the model again",
            path=str(path),
        ) from error


def check_files(folder: Path) -> None:
    """Raise ``ModelError`` unless the weight files are those that the index or their names say.

    mlx-lm reads every ``model*.safetensors``: a file that the index does not name would replace
    tensors of the same name, and without one that is missing it counts absent parameters only.
    """
    found = {path.name for path in folder.glob("model*.safetensors")}
    index = folder / "model.safetensors.index.json"
    content = _read(index) if index.exists() else None
    places = content.get("weight_map") if isinstance(content, dict) else None
    if isinstance(places, dict):
        expected = {str(name) for name in places.values()}
    else:
        expected = {name for one in found for name in _siblings(one)} | found
    if absent := sorted(expected - found):
        raise ModelError(
            "weights-missing",
            f"`{folder}` lacks `{absent[0]}`, which holds a part of the weights",
            hint="download the model again",
            folder=str(folder),
            missing=absent,
        )
    if surplus := sorted(found - expected):
        raise ModelError(
            "weights-unnamed",
            f"`{folder}` has `{surplus[0]}`, which `{index.name}` does not name",
            hint="keep either the file or the index with the files that it names",
            folder=str(folder),
            surplus=surplus,
        )


def _siblings(name: str) -> list[str]:
    """Return the names of all files of which ``name`` is one, such as model-00001-of-00003."""
    parts = re.fullmatch(r"(.*-)(\d+)-of-(\d+)(\.safetensors)", name)
    if parts is None:
        return [name]
    stem, number, count, suffix = parts.groups()
    return [f"{stem}{k:0{len(number)}d}-of-{count}{suffix}" for k in range(1, int(count) + 1)]


# transformers 5 saves these under the first name only; mlx-lm families read the second.
_OTHER_NAMES = (("n_positions", "n_ctx"), ("num_local_experts", "num_experts"))


def normalised(config: Config) -> Config:
    """Return the configuration with settings where every mlx-lm family looks for them.

    transformers 5 saves ``rope_parameters`` and no ``rope_theta``; some families would then take
    their default base *silently* and every hidden state would be wrong. Gemma 3 has one set of
    settings for its sliding layers and one for the others. mlx-lm applies LongRoPE's factors for
    long prompts to all; circuit reads prompts up to the original context, with those for short
    ones. Raises ``ModelError`` for a pattern of windows that the family's code cannot run.
    """
    config = dict(config)
    if isinstance(config.get("text_config"), dict):
        config["text_config"] = normalised(config["text_config"])
    for name, other in _OTHER_NAMES:
        if name in config:
            config.setdefault(other, config[name])
    if isinstance(rope := config.get("rope_parameters"), dict):
        config |= _rope_settings(config, rope)
    scaling = config.get("rope_scaling")
    if isinstance(scaling, dict) and "short_factor" in scaling:
        config["rope_scaling"] = {**scaling, "long_factor": scaling["short_factor"]}
    return {**config, **_window_pattern(config)}


def original_context(config: Config) -> int | None:
    """Return how many tokens a model with LongRoPE reads with its factors for short prompts."""
    scaling = config.get("rope_scaling")
    if not isinstance(scaling, dict) or "short_factor" not in scaling:
        return None
    own = config.get("original_max_position_embeddings")
    limit = scaling.get("original_max_position_embeddings") or own
    return None if limit is None else int(limit)


def _rope_settings(config: Config, rope: Config) -> Config:
    full = rope.get("full_attention", rope)
    settings = {
        "rope_theta": full.get("rope_theta"),
        "partial_rotary_factor": full.get("partial_rotary_factor"),
        "rope_local_base_freq": rope.get("sliding_attention", {}).get("rope_theta"),
        "original_max_position_embeddings": full.get("original_max_position_embeddings"),
    }
    if config.get("model_type") == "gpt_neox":
        settings |= {"rotary_emb_base": full.get("rope_theta")}
        settings |= {"rotary_pct": full.get("partial_rotary_factor")}
    if full.get("rope_type", "default") != "default" and not config.get("rope_scaling"):
        settings["rope_scaling"] = {**full, "type": full["rope_type"]}
    return {k: v for k, v in settings.items() if v is not None}


# Families whose mlx-lm code repeats one pattern of windows, and the length that it assumes.
_PERIODS = {"gemma3_text": 6, "cohere2": 4}
# Families whose mlx-lm code needs a layer of each kind.
_BOTH_KINDS = ("exaone4", "gpt_oss", "olmo3")


def _window_pattern(config: Config) -> Config:
    """Return the pattern of windows as the family's code reads it, from ``layer_types``."""
    family, types = config.get("model_type"), config.get("layer_types")
    full = [kind == "full_attention" for kind in types] if isinstance(types, list) else []
    if family in _PERIODS:
        given = config.get("sliding_window_pattern") or _PERIODS[family]
        period = full.index(True) + 1 if True in full else given
        regular = full == [(layer + 1) % period == 0 for layer in range(len(full))]
        if not regular or period > int(config.get("num_hidden_layers") or period):
            raise _no_pattern(config, f"one full layer after every {period - 1} with a window")
        return {"sliding_window_pattern": period} if full else {}
    if family in _BOTH_KINDS and full:
        windowless = family == "exaone4" and config.get("sliding_window") is None
        if len(set(full)) == 1 and not windowless:
            raise _no_pattern(config, "layers with a window and layers without one")
        if family == "exaone4" and not windowless:
            return {"sliding_window_pattern": "".join("G" if one else "L" for one in full)}
    return {}


def _no_pattern(config: Config, needed: str) -> ModelError:
    return ModelError(
        "layer-pattern",
        f"mlx-lm's `{config['model_type']}` needs {needed}; `layer_types` asks for another pattern",
        hint="this model cannot be run as its configuration says",
        setting="layer_types",
    )
