"""Schema ids: what a file of circuit says that it is, in its key ``schema``.

``circuit.<kind>/<number>``; the number grows when a file of the old kind can no longer be read. A
reader accepts exactly one number.
"""

from typing import Final, Literal

ACTIVATIONS: Final = "circuit.activations/2"
SHARD: Final = "circuit.shard/1"
INDEX: Final = "circuit.index/1"
JOURNAL: Final = "circuit.journal/1"
ANSWERS: Final = "circuit.answers/1"
PROMPTS: Final = "circuit.prompts/1"
TEMPLATES: Final = "circuit.templates/1"
DIRECTIONS: Final = "circuit.directions/1"

ANALYSIS: Final = "circuit.analysis/1"
PROBES: Final = "circuit.probes/1"
PLOTS: Final = "circuit.plots/1"
FIGURE: Final = "circuit.figure/1"
STEERING: Final = "circuit.steering/1"
CALIBRATION: Final = "circuit.calibration/1"
SELECTION: Final = "circuit.selection/1"
SWEEP: Final = "circuit.sweep/2"
SPECIFICITY: Final = "circuit.specificity/1"
EVALUATION: Final = "circuit.evaluation/1"
CONCEPT_TRIAL: Final = "circuit.concept_trial/1"
CONCEPT_SCAN: Final = "circuit.concept_scan/1"
LENS_MAPS: Final = "circuit.lens_maps/1"

# The questions of ``circuit introspect``.
ABLATION: Final = "circuit.ablation/1"
ACTIVATION_DIFF: Final = "circuit.activation-diff/1"
GENERATION: Final = "circuit.generation/1"
ATTENTION: Final = "circuit.attention/1"
ATTRIBUTION: Final = "circuit.attribution/1"
CIRCUIT: Final = "circuit.circuit/1"
COMPARISON: Final = "circuit.comparison/1"
COSINES: Final = "circuit.cosines/1"
FORMAT_SENSITIVITY: Final = "circuit.format-sensitivity/1"
HOOKS: Final = "circuit.hooks/1"
LAYER_SIMILARITY: Final = "circuit.layer-similarity/1"
LENS: Final = "circuit.lens/1"
NEURONS: Final = "circuit.neurons/1"
PATCHING: Final = "circuit.patching/1"
PROBE: Final = "circuit.probe/1"
WEIGHT_DIFF: Final = "circuit.weight-diff/1"

# The types of fields that hold one of the above.
Prompts = Literal["circuit.prompts/1"]
Templates = Literal["circuit.templates/1"]
Index = Literal["circuit.index/1"]
Journal = Literal["circuit.journal/1"]
