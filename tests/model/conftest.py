"""A tiny model of any family."""

import pytest
from architectures import CONFIGS
from checkpoints import write_checkpoint


@pytest.fixture(scope="session")
def of(tmp_path_factory):
    """family -> a model of it, made on first use; not to be changed."""
    from circuit.model.checkpoint.loading import load_model

    made = {}

    def get(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = load_model(str(write_checkpoint(folder, family, **CONFIGS[family])))
        return made[family]

    return get
