"""A run that writes an archive of ragged activations, batch by batch, without a model.

``Plan`` decides everything from a seed: prompts, tokens, positions with unusual names, and the
value at each place.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from circuit.artifacts.activations.activations import Activations
from circuit.artifacts.activations.arrangement import ArrayPlan
from circuit.artifacts.activations.shards import join_shards
from circuit.artifacts.activations.writer import ActivationsWriter, Shard, remove_stale_journal
from circuit.artifacts.files.paths import manifest_path, shard_path
from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.values.identity import ModelIdentity

SITES = (("embed", 0), ("resid_post", 0), ("resid_post", 3), ("q_rope", 3), ("head_keys", 3))
SHAPES = {"q_rope": (2, 2), "head_keys": (2,)}
POSITIONS = ("last", "-6:", "re:(?i)fo@o.offsets", "all", "mean")
WIDTHS = {"embed": 3, "resid_post": 3, "q_rope": 4, "head_keys": 2}
RUN = Run.since(0.0)
MODEL = ModelIdentity(id="m", n_layers=4, d_model=3)


@dataclass(frozen=True)
class Plan:
    """``n`` prompts in batches of ``size``."""

    n: int = 11
    size: int = 3
    seed: int = 0
    dtype: str = "float32"
    positions: tuple[str, ...] = POSITIONS
    scale: float = 1.0

    @cached_property
    def prompts(self) -> PromptSet:
        kinds = [{"text": f"{i} ", "label": ["no", "yes", None][i % 3]} for i in range(self.n)]
        known = [
            {**k, "group": f"g{i % 2}", "pair": f"p{i // 3}" if k["label"] else None}
            for i, k in enumerate(kinds)
        ]
        return PromptSet.model_validate({"name": "s", "labels": ["no", "yes"], "prompts": known})

    @cached_property
    def token_ids(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        return [rng.integers(0, 2**17, rng.integers(1, 10)) for _ in range(self.n)]

    def chosen(self, position: str, prompt: int) -> np.ndarray:
        length = len(self.token_ids[prompt])
        if position == "-6:":
            return np.arange(max(0, length - 6), length)
        if position.startswith("re:"):
            return np.arange(prompt % length, length, 2)
        return np.arange(length) if position == "all" else np.array([length - 1])

    def count(self, site: str, position: str, prompt: int) -> int:
        keys = len(self.token_ids[prompt]) if site == "head_keys" else 1
        return len(self.chosen(position, prompt)) * keys

    def is_ragged(self, site: str, position: str) -> bool:
        return site == "head_keys" or position not in ("last", "mean")

    def values(self, site: str, layer: int, position: str, prompt: int) -> np.ndarray:
        seed = [*f"{site}{position}".encode(), layer, prompt, self.seed]
        shape = (self.count(site, position, prompt), WIDTHS[site])
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * self.scale

    def stored(self, site: str, layer: int, position: str) -> np.ndarray:
        """Return all rows of one array as they are read."""
        whole = np.concatenate([self.values(site, layer, position, i) for i in range(self.n)])
        if self.dtype == "bfloat16":
            return (
                (whole.view(np.uint32) + 0x7FFF + (whole.view(np.uint32) >> 16 & 1)) >> 16 << 16
            ).view(np.float32)
        return whole.astype(self.dtype).astype(np.float32)

    def batches(self, rows: range) -> list[np.ndarray]:
        """Return the local rows of each batch, in a mixed order."""
        order = np.random.default_rng(self.seed).permutation(len(rows))
        return [order[at : at + self.size] for at in range(0, len(rows), self.size)]

    def origin(self, stem) -> Origin:
        parameters = {"seed": self.seed, "positions": self.positions, "dtype": self.dtype}
        return Origin.of(stem, parameters=parameters, inputs=[], model=MODEL)

    def arrays(self, rows: range, **changes) -> ArrayPlan:
        single = [p for p in self.positions if p != "mean"]
        fields = {
            "sites_layers": SITES,
            "positions": self.positions,
            "d_model": 3,
            "dtype": self.dtype,
            "shapes": SHAPES,
            "counts": {
                (site, p): [self.count(site, p, i) for i in rows]
                for site in WIDTHS
                for p in self.positions
                if self.is_ragged(site, p)
            },
            "token_ids": [self.token_ids[i] for i in rows],
            "indices": {p: [self.chosen(p, i) for i in rows] for p in single},
        }
        return ArrayPlan(**(fields | changes))

    def writer(
        self, stem, *, shard=None, force=False, origin=None, circumstances=None, **changes
    ) -> ActivationsWriter:
        return ActivationsWriter(
            stem,
            self.arrays(range(self.n) if shard is None else shard.rows, **changes),
            prompts=self.prompts,
            origin=origin or self.origin(stem),
            shard=shard,
            circumstances=circumstances,
            force=force,
        )

    def put(self, writer: ActivationsWriter, rows: range, batch: np.ndarray) -> None:
        for site, layer in SITES:
            for position in self.positions:
                values = [self.values(site, layer, position, rows[i]) for i in batch]
                writer.put(site, layer, position, batch, np.concatenate(values))

    def fill(self, writer: ActivationsWriter, rows: range) -> None:
        for unit, batch in enumerate(self.batches(rows)):
            if unit not in writer.finished:
                self.put(writer, rows, batch)
                writer.done(unit)

    def write(self, stem, *, force=False) -> Activations:
        """Do what ``collect`` does: reuse, go on, or begin."""
        if manifest_path(stem).exists() and not force:
            remove_stale_journal(stem)
            return Activations.open(stem)
        with self.writer(stem, force=force) as writer:
            self.fill(writer, range(self.n))
            return writer.finish(run=RUN, results={"tokens": self.n_tokens(range(self.n))})

    def write_shard(self, stem, shard: Shard, *, force=False):
        if not shard_path(stem, shard.number, shard.of).exists() or force:
            with self.writer(stem, shard=shard, force=force) as writer:
                self.fill(writer, shard.rows)
                writer.finish_shard(run=RUN, results={"tokens": self.n_tokens(shard.rows)})
        remove_stale_journal(stem, shard)
        return self.join(stem, shard.of)

    def join(self, stem, count: int):
        return join_shards(
            stem,
            count,
            prompts=self.prompts,
            origin=self.origin(stem),
            combine=lambda found: {"tokens": sum(each["tokens"] for each in found)},
            run=RUN,
        )

    def n_tokens(self, rows: range) -> int:
        return sum(len(self.token_ids[i]) for i in rows)


def shards(cuts: list[int]) -> list[Shard]:
    """Divide prompts at ``cuts``, which begin with 0 and end with their number."""
    count = len(cuts) - 1
    return [Shard(i + 1, count, range(cuts[i], cuts[i + 1])) for i in range(count)]


SMALL = Plan(n=7, size=2, positions=("last", "all"))


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
