"""The table of tests/bench/null.py in small: on noise, intervals cover chance and hardly anything is called decodable."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "bench" / "null.py"


@pytest.fixture(scope="module")
def null():
    spec = importlib.util.spec_from_file_location("bench_null", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_null"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_null"]


@pytest.mark.slow
@pytest.mark.parametrize("job", ["40,256,20,group", "60,256,15,pair", "80,256,80,row"])
def test_noise_is_covered_and_not_decodable(null, job):
    found = list(null.repeats(null.Job.parse(job), 40, 6, n_boot=200, n_shuffles=99))
    share = {name: np.mean([flag for one in found for flag in one[name]]) for name in found[0]}
    # 240 intervals, the layers of a repeat sharing their labels; 40 repeats.
    assert share["probe"] >= 0.92
    assert share["balanced"] >= 0.92
    assert share["direction"] >= 0.85
    assert share["any layer"] <= 0.15
    assert share["naive"] > 0.3


def test_the_table_has_a_row_for_each_job(null, capsys):
    jobs = [null.Job.parse("24,32,12,group"), null.Job.parse("24,32,6,pair")]
    null.table(jobs, 2, 2, n_boot=20, n_shuffles=19)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 + 1
    assert lines[0].split()[:4] == ["n", "d", "groups", "design"]
    assert lines[-1].split()[0] == "all"
