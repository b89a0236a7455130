"""Schema ids: what a file of circuit says that it is, in its key ``schema``.

``circuit.<kind>/<number>``; the number grows when a file of the old kind can no longer be read. A reader accepts exactly one number.
"""

from typing import Final, Literal

ACTIVATIONS: Final = "circuit.activations/2"
SHARD: Final = "circuit.shard/1"
INDEX: Final = "circuit.index/1"
JOURNAL: Final = "circuit.journal/1"
ANSWERS: Final = "circuit.answers/1"
UNITS: Final = "circuit.units/1"
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
SWEEP: Final = "circuit.sweep/1"
SPECIFICITY: Final = "circuit.specificity/1"
EVALUATION: Final = "circuit.evaluation/1"
CONCEPT_TRIAL: Final = "circuit.concept_trial/1"
CONCEPT_SCAN: Final = "circuit.concept_scan/1"
LENS_MAPS: Final = "circuit.lens_maps/1"

# The types of fields that hold one of the above.
Prompts = Literal["circuit.prompts/1"]
Templates = Literal["circuit.templates/1"]
Index = Literal["circuit.index/1"]
Journal = Literal["circuit.journal/1"]
