"""Tables of other programs: the type of every value is checked before it is used."""

import csv
import json

import pytest
from errors import raises

from circuit.errors import ArtifactError, CircuitError, DataError
from circuit.stages.dataset.import_table import import_prompts
from circuit.stages.dataset.request import ImportRequest
from circuit.stages.options import OutputOptions

ROWS = [{"text": "warm", "label": 1}, {"text": "cold", "label": 0}]


def imported(path, document):
    path.write_text(json.dumps(document))
    output = OutputOptions(output=path.with_suffix(".out.json"))
    return import_prompts(ImportRequest(file=path, output=output))


def test_names_of_classes_may_be_a_list(tmp_path):
    found = imported(tmp_path / "a.json", {"label_names": ["winter", "summer"], "prompts": ROWS})
    assert list(found.labels) == ["winter", "summer"]
    assert [prompt.label for prompt in found.prompts] == ["summer", "winter"]


@pytest.mark.parametrize(
    ("about", "field"),
    [
        ({"contrastive_pairs": [["warm", "cold"]]}, "contrastive_pairs.0"),
        ({"contrastive_pairs": {"positive": "warm"}}, "contrastive_pairs"),
        ({"contrastive_pairs": "warm/cold"}, "contrastive_pairs"),
        ({"label_names": "winter,summer"}, "label_names"),
        ({"label_names": {"0": ["winter"]}}, "label_names.0.str"),
        ({"labels": "winter,summer"}, "labels"),
        ({"labels": {"0": "winter"}}, "labels"),
        ({"system": ["be kind"]}, "system"),
    ],
)
def test_a_key_of_another_type_is_refused_by_its_name(tmp_path, about, field):
    with raises(ArtifactError, "invalid-field", field=field):
        imported(tmp_path / "a.json", {**about, "prompts": ROWS})


@pytest.mark.parametrize("column", ["text", "label", "group", "pair", "expected"])
@pytest.mark.parametrize("value", [["a"], {"role": "user"}])
def test_a_cell_of_another_type_is_refused_by_its_row(tmp_path, column, value):
    rows = [ROWS[0], {**ROWS[1], column: value}]
    with raises(DataError, "not-a-text", row=1, column=column):
        imported(tmp_path / "a.json", {"prompts": rows})


def test_metadata_that_is_a_text_is_a_column(tmp_path):
    rows = [{**row, "metadata": "source=weather"} for row in ROWS]
    found = imported(tmp_path / "a.json", {"prompts": rows})
    assert found.prompts[0].metadata == {"metadata": "source=weather"}


def test_long_cells_are_read(tmp_path):
    path, long = tmp_path / "a.csv", "word " * 60_000
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], [long, "a"], ["short", "b"]])
    output = OutputOptions(output=tmp_path / "out.json")
    assert import_prompts(ImportRequest(file=path, output=output)).prompts[0].text == long


@pytest.mark.parametrize("value", [None, 3, 2.5, True, "x", ["x"], [["x", "y"]], {"x": 1}, {}])
def test_any_json_value_at_any_key_is_read_or_refused_in_a_sentence(tmp_path, value):
    keys = ("label_names", "labels", "contrastive_pairs", "name", "format", "tools", "prompts")
    columns = ("text", "label", "metadata", "group", "expected_tool", "other")
    documents = [{"prompts": ROWS, key: value} for key in keys]
    documents += [{"prompts": [{**ROWS[0], key: value}, ROWS[1]]} for key in columns]
    for document in documents:
        assert "\n" not in refusal(tmp_path / "a.json", document)


def refusal(path, document):
    """Return the sentence with which a document is refused, empty if it is read."""
    try:
        imported(path, document)
    except CircuitError as error:
        return error.message
    return ""
