"""Tables of answers: what a spreadsheet opens runs nothing, and the texts come back."""

import csv

from circuit.artifacts.prompts.tables import write_csv


def cells(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


def test_a_cell_that_a_spreadsheet_would_run_is_written_as_text(tmp_path):
    texts = [
        "=cmd|'/C calc'!A0",
        "+1",
        "-2 + 2 =",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "'quoted",
        "plain",
        " =1",
        "",
    ]
    write_csv(tmp_path / "t.csv", [{"text": text, "n": -1.5} for text in texts])
    written = cells(tmp_path / "t.csv")
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in written)
    assert [cell.removeprefix("'") if cell.startswith("'") else cell for cell in written] == texts
    assert (tmp_path / "t.csv").read_text().count(",-1.5") == len(texts)
