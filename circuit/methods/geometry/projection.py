"""Two coordinates per row, for a picture: PCA, and UMAP with the parameters to reproduce it.

PCA keeps distances along its two axes and reports how much variance they explain. UMAP (McInnes et
al. 2018, 1802.03426) keeps neighbourhoods only: sizes of clusters and distances between them mean
nothing, and noise can look clustered. No number of ``circuit`` is computed from either.
"""

from dataclasses import dataclass

import numpy as np

from circuit.errors import DataError
from circuit.methods.arrays import Array
from circuit.methods.linear.rowspace import row_coordinates

NEIGHBOURS, MIN_DIST = 15, 0.1


@dataclass(frozen=True)
class Projection:
    """Coordinates (n, 2) and the parameters of the projection."""

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

    ``coordinates`` are those of the rows in their row space, not standardised, if already computed.
    """
    X = row_coordinates(H, standardise=False) if coordinates is None else coordinates
    total = (X**2).sum()
    two = np.zeros((len(X), 2))
    two[:, : min(2, X.shape[1])] = X[:, :2]
    # The sign of an eigenvector is arbitrary: fix it, so that the picture is reproducible.
    two *= np.where(two[np.abs(two).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = (two**2).sum(axis=0) / total if total else np.zeros(2)
    return Projection(two, {"method": "pca", "variance": [round(float(x), 6) for x in shares]})


def _umap() -> type:
    import warnings

    with warnings.catch_warnings():
        # umap warns at import that Tensorflow is missing, which is not needed here.
        warnings.simplefilter("ignore", ImportWarning)
        import umap.umap_
    for name in ("fast_knn_indices", "smooth_knn_dist", "compute_membership_strengths"):
        # umap caches the compiled code of its other functions; these cost 10 s per process.
        if (function := getattr(umap.umap_, name, None)) is not None:
            function.enable_caching()
    projection: type = umap.umap_.UMAP
    return projection


def umap(X: Array, *, seed: int = 42, n_neighbors: int = NEIGHBOURS) -> Projection:
    """Project the rows ``X`` or their row-space coordinates; one thread, to be reproducible."""
    if len(X) < 5:
        raise DataError(
            "too-few-prompts",
            f"UMAP needs at least 5 prompts, got {len(X)}",
            hint="collect more prompts",
            n=len(X),
        )
    if not np.ptp(X, axis=0).any():
        raise DataError(
            "equal-rows",
            "all rows are equal, so UMAP cannot project them",
            hint="choose another layer, site or position",
        )
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
