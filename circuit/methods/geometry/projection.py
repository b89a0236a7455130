"""Two coordinates per row, for a picture: PCA, and UMAP with what is needed to draw it again.

PCA keeps distances along its two axes and says how much variance they hold. UMAP (McInnes et al. 2018, 1802.03426) keeps
neighbourhoods only: sizes of and distances between clusters mean nothing, and noise can look clustered. No number
of ``circuit`` is computed from either.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.linear.rowspace import row_coordinates

NEIGHBOURS, MIN_DIST = 15, 0.1


@dataclass(frozen=True)
class Projection:
    """Coordinates (n, 2) and how they were made."""

    coordinates: Array
    parameters: dict[str, object]

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "coordinates": np.round(self.coordinates.astype(np.float64), 5).tolist(),
            "parameters": self.parameters,
        }


def pca(H: Array, coordinates: Array | None = None) -> Projection:
    """Project rows ``H`` (n, d) on their two main axes; the larger side of each axis is positive.

    ``coordinates`` are those of the rows in their row space, not standardised, if already there.
    """
    X = row_coordinates(H, standardise=False) if coordinates is None else coordinates
    total = (X**2).sum()
    two = np.zeros((len(X), 2))
    two[:, : min(2, X.shape[1])] = X[:, :2]
    # The sign of an eigenvector is arbitrary: fix it, so that the picture is the same everywhere.
    two *= np.where(two[np.abs(two).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = (two**2).sum(axis=0) / total if total else np.zeros(2)
    return Projection(two, {"method": "pca", "variance": [round(float(x), 6) for x in shares]})


def _umap() -> Any:
    import warnings

    with warnings.catch_warnings():
        # umap says at import that it has no Tensorflow, which nothing here needs.
        warnings.simplefilter("ignore", ImportWarning)
        import umap.umap_
    for name in ("fast_knn_indices", "smooth_knn_dist", "compute_membership_strengths"):
        # umap keeps the machine code of its other functions; these cost 10 s in every process.
        if (function := getattr(umap.umap_, name, None)) is not None:
            function.enable_caching()
    return umap.umap_.UMAP


def umap(X: Array, *, seed: int = 42, n_neighbors: int = NEIGHBOURS) -> Projection:
    """Lay out the rows ``X``, which may be row-space coordinates, in one thread so that the seed decides."""
    if len(X) < 5:
        message = f"UMAP cannot lay out {len(X)} rows"
        raise DataError(message, hint="at least 5 prompts are needed")
    if not np.ptp(X, axis=0).any():
        message = "all rows are equal, so UMAP has nothing to lay out"
        raise DataError(message, hint="choose another layer, site or position")
    neighbours = min(n_neighbors, len(X) - 1)
    init = "spectral" if len(X) > 10 else "random"  # spectral needs more rows than it has axes
    layout = _umap()(
        n_neighbors=neighbours, min_dist=MIN_DIST, random_state=seed, n_jobs=1, init=init
    )
    coordinates = layout.fit_transform(X)
    parameters = {
        "method": "umap",
        "n_neighbors": neighbours,
        "min_dist": MIN_DIST,
        "metric": "euclidean",
        "init": init,
        "seed": seed,
    }
    return Projection(np.asarray(coordinates, dtype=np.float64), parameters)
