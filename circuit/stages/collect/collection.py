"""A collection: what decides its bytes, how the work is laid out, who writes it.

    Collection   model, prompts, options: the origin of an archive
    Layout       the prompts of one process as tokens, and the plan of its forward passes
    run          the plan's batches, handed to a thread that writes them while the next ones are
                 computed

What a run found out about the machine (how many tokens fit in a batch, how many streams run side by
side) decides the last bits of the numbers, too. It is kept in the journal: a run that goes on takes
the measured budget from there, and is refused where the rest differs.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit.artifacts.activations.answers import AnswersWriter
from circuit.artifacts.activations.arrangement import Arrangement, ArrayPlan
from circuit.artifacts.activations.writer import ActivationsWriter, Shard, unfinished_origin
from circuit.artifacts.files.differences import fingerprint
from circuit.artifacts.manifest.manifest import manifest_path
from circuit.artifacts.manifest.origin import Origin
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.errors import ModelError, StoppedError
from circuit.stages.collect.answers import AnswerOptions, answer_all, check_asked
from circuit.stages.collect.recording import Recording
from circuit.stages.collect.sharding import shard_rows
from circuit.stages.collect.write_behind import write_behind
from circuit.stages.rows.prompting import encode
from circuit.stages.run import Track
from circuit.values.layers import parse_layers
from circuit.values.prompt_format import PromptFormat
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.forward.capture import Plan
    from circuit.model.prompts.positions import Position
    from circuit.model.prompts.tokens import EncodedPrompt


@dataclass(frozen=True, eq=False)
class Layout:
    """The work of one process: its ``plan``, and what was found out about the machine.

    ``encoded`` are the prompts, where they are to be answered.
    """

    encoded: "Sequence[EncodedPrompt]"
    plan: "Plan"
    shard: Shard | None
    circumstances: Mapping[str, Any]

    def results(self) -> dict[str, Any]:
        """Return what the manifest says about the run."""
        lengths = self.plan.ids.lengths
        tokens = {"total": lengths.sum(), "min": lengths.min(), "max": lengths.max()}
        return {
            "tokens": {name: int(n) for name, n in tokens.items()},
            "padded_batches": self.plan.is_padded,
            "shared_prefix": self.plan.prefix,
            "batch_tokens": self.circumstances["batch_tokens"],
            "note": "hidden_states[i] of Hugging Face is resid_post.(i-1); its last entry "
            "is taken after the final norm, resid_post is not",
        }


@dataclass(frozen=True)
class RunSummary:
    """What the manifest says of the run, and the files that it wrote beside the archive."""

    results: dict[str, Any]
    files: list[Path]


@dataclass(frozen=True, eq=False)
class Collection:
    """What is collected from which model, and from which files: see ``Origin``."""

    model: "LoadedModel"
    prompts: PromptSet
    out: Path
    recording: Recording
    prompt_format: PromptFormat
    inputs: Sequence[Path]
    parameters: Mapping[str, Any]

    @property
    def follows(self) -> bool:
        """Say whether the model is split over processes of which this one is not the first."""
        return self.model.group is not None and self.model.group.rank() > 0

    @cached_property
    def sites(self) -> list["Site"]:
        """The sites, each with its layer."""
        from circuit.model.sites.sites import parse_sites

        n_layers = self.model.n_layers
        layers = parse_layers(self.recording.layers, range(n_layers), n_layers)
        return parse_sites(self.recording.sites, layers, self.model)

    @cached_property
    def positions(self) -> list["Position"]:
        """The positions, each with its name."""
        from circuit.model.prompts.positions import parse_positions

        return parse_positions(self.recording.positions)

    @cached_property
    def origin(self) -> Origin:
        """Everything that decides the bytes and is known without looking at the machine."""
        asked = self.recording.answers
        described = {
            **self.parameters,
            "sites": [str(site) for site in self.sites],
            "positions": [position.name for position in self.positions],
            "format": self.prompt_format.name,
            "system": self.prompt_format.system,
            "tools": self.prompt_format.tools,
            "enable_thinking": False,
            "max_length": self.recording.max_length,
            "truncate": self.recording.truncate,
            "share_prefix": self.recording.share_prefix,
            "dtype": self.recording.dtype,
            "batch_tokens": self.recording.batch_tokens or "auto",
            "generate": asked and asked.max_tokens,
            "criteria": asked and asked.criteria,
        }
        return Origin.of(
            manifest_path(self.out),
            parameters=described,
            inputs=self.inputs,
            model=self.model.identity,
            tokenizer=self.model.tokenizer_identity,
        )

    def layout(self, number: int = 1, count: int = 1, *, force: bool = False) -> Layout:
        """Turn the prompts of shard ``number`` of ``count`` into tokens, and plan how they run."""
        from circuit.model.forward.budget import measured_batch_tokens
        from circuit.model.forward.capture import plan
        from circuit.model.machine.launch import least
        from circuit.model.machine.runtime import circumstances
        from circuit.model.prompts.tokens import token_ids

        encoded = encode(
            self.model,
            self.prompts.texts,
            self.prompt_format,
            max_length=self.recording.max_length,
            truncate=self.recording.truncate,
        )
        rows = shard_rows(token_ids(encoded).lengths, number, count)
        own = encoded if count == 1 else encoded[rows.start : rows.stop]
        shard = Shard(number, count, rows) if count > 1 else None
        batch_tokens = self.recording.batch_tokens or self._begun_with(shard, force)
        if batch_tokens is None:
            batch_tokens = measured_batch_tokens(
                self.model, token_ids(own), self.sites, self.positions
            )
        if self.model.group is not None:
            batch_tokens = least(self.model.group, batch_tokens)
        planned = plan(
            self.model,
            own,
            sites=self.sites,
            positions=self.positions,
            batch_tokens=batch_tokens,
            share_prefix=self.recording.share_prefix,
            first=rows.start,
        )
        return Layout(
            own if self.recording.answers else [],
            planned,
            shard,
            {"batch_tokens": batch_tokens, **circumstances(self.model.n_streams)},
        )

    def writer(self, layout: Layout, *, force: bool = False) -> ActivationsWriter:
        """Open the archive, or go on with one that was begun."""
        return ActivationsWriter(
            self.out,
            self._arrays(layout),
            prompts=self.prompts,
            origin=self.origin,
            shard=layout.shard,
            circumstances=layout.circumstances,
            force=force,
        )

    def archive_bytes(self, layout: Layout) -> int:
        """Return the size of the file that ``writer`` would make."""
        return Arrangement.of(len(layout.plan.ids), self._arrays(layout)).layout.size

    def _arrays(self, layout: Layout) -> ArrayPlan:
        """Return what decides which arrays the archive has, and of which shape."""
        keys = [(site, position) for site in self.sites for position in self.positions]
        counts = {(s.name, p.name): layout.plan.counts(s, p) for s, p in keys}
        return ArrayPlan(
            sites_layers=[(site.name, site.layer) for site in self.sites],
            positions=[position.name for position in self.positions],
            d_model=self.model.d_model,
            dtype=self.recording.dtype,
            shapes=self._shapes(),
            counts={key: rows.tolist() for key, rows in counts.items() if rows is not None},
            token_ids=layout.plan.ids,
            indices={p.name: layout.plan.indices[p.name] for p in self.positions if not p.is_mean},
        )

    def run(
        self, layout: Layout, writer: ActivationsWriter, *, force: bool, track: Track
    ) -> RunSummary:
        """Run what is not done yet, then answer the prompts if that was asked for.

        Raises ``StoppedError`` on Ctrl-C; what is done stays.
        """
        first = layout.plan.first
        if (asked := self.recording.answers) is not None:
            check_asked(self.model, layout.encoded, self.prompts, asked, first=first)
        try:
            with ExitStack() as open_files:
                # Opened before the hours of work: it refuses what lies there of another run.
                if asked is not None:
                    answers = self._answers(layout, asked, writer, force)
                    open_files.enter_context(answers)
                self._capture(layout, writer, track)
                if asked is None:
                    return RunSummary(layout.results(), [])
                counts = answer_all(
                    self.model, layout.encoded, self.prompts, asked, answers, track=track
                )
                return RunSummary({**layout.results(), "answers": counts}, [answers.path])
        except KeyboardInterrupt as stop:
            kept, total = len(writer.finished), len(layout.plan.batches)
            hint = f"the same command resumes: {kept} of {total} batches are kept"
            raise StoppedError("interrupted", "interrupted", hint=hint if kept else "") from stop

    def _capture(self, layout: Layout, writer: ActivationsWriter, track: Track) -> None:
        """Run the batches that are not done; another thread writes while the next are computed."""
        from circuit.model.forward.capture import capture
        from circuit.model.machine.allocator import give_back_freed_memory

        give_back_freed_memory()
        finished, total = writer.finished, len(layout.plan.batches)
        self.told_by_first(finished, total)
        batches = capture(self.model, layout.plan, without=finished)
        with ThreadPoolExecutor(max_workers=1) as pool:
            write_behind(pool, writer, track(batches, "Collecting", total - len(finished)))

    def told_by_first(self, units: AbstractSet[int] | tuple[()] | None, n: int) -> set[int] | None:
        """Agree with the other processes of a split model on what the first one says."""
        from circuit.model.machine.launch import shared_by_first

        group = self.model.group
        return None if group is None else shared_by_first(group, units, n)

    def follow(self, layout: Layout) -> None:
        """Run the batches that the first process runs, and keep nothing."""
        from circuit.model.forward.capture import capture

        finished = self.told_by_first(None, len(layout.plan.batches))
        for _ in capture(self.model, layout.plan, without=finished or ()):
            pass

    def _answers(
        self, layout: Layout, asked: AnswerOptions, writer: ActivationsWriter, force: bool
    ) -> AnswersWriter:
        """Open the file of answers beside the archive."""
        rows = layout.shard.rows if layout.shard else range(len(self.prompts.prompts))
        header = asked.header(fingerprint(self.origin.covers()))
        return AnswersWriter(writer.manifest_path, header, rows, force=force)

    def _begun_with(self, shard: Shard | None, force: bool) -> int | None:
        """Return the budget of the run that is to be gone on with, if there is one."""
        begun = None if force else unfinished_origin(self.out, shard)
        if begun is None or begun.get("parameters") != self.origin.covers()["parameters"]:
            return None
        return int(begun["circumstances"]["batch_tokens"])

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of a token's value at each site, the same in all of its layers."""
        from circuit.model.sites.sites import site_shape

        shapes: dict[str, tuple[int, ...]] = {}
        for site in self.sites:
            # A row of a pattern is one key.
            shape = tuple(n for n in site_shape(self.model, site) if n)
            if shapes.setdefault(site.name, shape) != shape:
                message = f"`{site.name}` has another shape in layer {site.layer} than before it"
                hint = "collect such layers into archives of their own"
                raise ModelError("site-shapes-differ", message, hint=hint, site=site.name)
        return shapes
