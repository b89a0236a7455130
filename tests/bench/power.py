"""How often a design finds the effect that it says that it would find in 80 % of cases.

    python tests/bench/power.py [--repeats 200]

Rows of ``coverage.py``'s designs with classes δ standard deviations apart, for several δ. For each: the mean AUROC of the probe, the
share of repeats that are decodable (interval and permutation test), and the mean and range of the smallest AUROC that is found in
80 % of cases as ``methods.probes.power`` computes it from the rows of one repeat.
"""

import argparse

import numpy as np
from coverage import Case

from circuit.methods.linear.threads import one_blas_thread
from circuit.methods.probes.power import power
from circuit.methods.probes.probing import cross_validated_probe
from circuit.methods.probes.verdict import decodable

CASES = ((16, "plain"), (30, "plain"), (30, "correlated"), (30, "unequal"), (20, "pairs"))


def line(case: Case, repeats: int) -> str:
    aurocs, found, smallest, groups = [], [], [], []
    for seed in range(repeats):
        H, y, rows = case.rows(np.random.default_rng([seed, case.n_groups]))
        result = {0: cross_validated_probe(H, y, rows, n_boot=300, n_shuffles=199, seed=seed)}
        said = power(result)
        aurocs.append(result[0].auroc.value)
        found.append(decodable(result)[0])
        smallest.append(1.0 if said.detectable is None else said.detectable)
        groups.append(said.groups)
    low, high = np.percentile(smallest, [5, 95])
    return (
        f"{case.n_groups:6}  {case.design:10}  {case.apart:3}  {np.mean(aurocs):.3f}  {np.mean(found):.3f}  "
        f"{np.mean(smallest):.3f} ({low:.2f} to {high:.2f})  {np.median(groups):.0f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=200)
    given = parser.parse_args()
    print("groups  design        δ  AUROC  found  found in 80 %  groups for 0.7")
    with one_blas_thread():
        for n_groups, kind in CASES:
            for apart in (1.0, 1.5, 2.0, 2.5, 3.0):
                print(line(Case(n_groups, kind, apart), given.repeats), flush=True)
