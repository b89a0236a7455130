"""Baselines of a probe, as files hold them."""

from circuit.artifacts.files.documents import restored
from circuit.methods.probes.probing import ProbeResult
from circuit.methods.probes.verdict import decodable
from circuit.stages.rows.probe_scores import StarredScore


def baseline_score(result: ProbeResult) -> StarredScore:
    """Return what a file holds of a probe that stands by itself."""
    significant = decodable({0: result})[0]
    return restored(StarredScore, {**result.as_dict(), "significant": significant})
