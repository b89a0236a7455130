"""A checkpoint on disk: its folder, downloaded or made of a GGUF file, and its configuration."""

import json
from pathlib import Path
from typing import Any

from circuit.errors import ModelError
from circuit.model.checkpoint.gguf.files import gguf_files

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
    if local.exists() or model_id.startswith((".", "/", "~")) or model_id.count("/") > 1:
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
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            "download-failed",
            f"model `{model_id}` cannot be downloaded: {reason}",
            hint="check the name, the revision and your access",
            model=model_id,
        ) from error


def read_config(folder: Path) -> Config:
    """Read ``config.json`` of a checkpoint folder."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            "config-missing",
            f"`{folder}` has no `config.json`, so it is not a checkpoint",
            hint="give the folder that holds config.json and model.safetensors",
            folder=str(folder),
        ) from error
    except ValueError as error:
        raise ModelError(
            "not-json",
            f"`{path}` is not JSON: {error}",
            hint="download the model again",
            path=str(path),
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            "model-type-missing",
            f"`{path}` has no `model_type`",
            hint="mlx-lm needs it to choose the model",
            path=str(path),
        )
    return config


# transformers 5 saves these under the first name only; mlx-lm families read the second.
_OTHER_NAMES = (("n_positions", "n_ctx"), ("num_local_experts", "num_experts"))


def normalised(config: Config) -> Config:
    """Return the configuration with settings where every mlx-lm family looks for them.

    transformers 5 saves ``rope_parameters`` and no ``rope_theta``; some families would then take
    their default base *silently* and every hidden state would be wrong. Gemma 3 has one set of
    settings for its sliding layers and one for the others.
    """
    config = dict(config)
    if isinstance(config.get("text_config"), dict):
        config["text_config"] = normalised(config["text_config"])
    for name, other in _OTHER_NAMES:
        if name in config:
            config.setdefault(other, config[name])
    rope = config.get("rope_parameters")
    return {**config, **_rope_settings(config, rope)} if isinstance(rope, dict) else config


def _rope_settings(config: Config, rope: Config) -> Config:
    full = rope.get("full_attention", rope)
    settings = {
        "rope_theta": full.get("rope_theta"),
        "partial_rotary_factor": full.get("partial_rotary_factor"),
        "rope_local_base_freq": rope.get("sliding_attention", {}).get("rope_theta"),
    }
    if full.get("rope_type", "default") != "default":
        settings["rope_scaling"] = {**full, "type": full["rope_type"]}
    return {k: v for k, v in settings.items() if v is not None and config.get(k) is None}
