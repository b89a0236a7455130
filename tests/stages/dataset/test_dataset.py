"""`circuit dataset`: from templates and other programs' files to prompt sets, checked and divided."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from errors import raises
from in_process import invoke
from words import WORDS

from circuit.artifacts.prompts.builtin import builtin_concepts
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.artifacts.prompts.tables import read_table
from circuit.artifacts.prompts.verdict import current_verdict
from circuit.errors import ArtifactError, CircuitError, DataError, UsageError
from circuit.stages.dataset.check import findings, surface
from circuit.stages.dataset.request import ImportRequest, PromptSetOutput
from circuit.stages.dataset.split import split
from circuit.stages.run import run

DATA = Path(__file__).parents[2] / "artifacts" / "data"
WEATHER, SUMS = str(DATA / "weather.json"), str(DATA / "sums.json")


def circuit(*arguments: object, exit_code: int = 0) -> str:
    """Run ``circuit dataset`` and return stdout; errors of the user come out as they are."""
    done = invoke(["dataset", *(str(each) for each in arguments)])
    if done.error is not None:
        raise done.error
    assert done.exit_code == exit_code, done.output
    return done.stdout


def imported(tmp_path: Path, name: str, text: str, **options: Any) -> PromptSet:
    (tmp_path / name).write_text(text)
    output = PromptSetOutput(output=tmp_path / "out.json", force=True)
    run(ImportRequest(file=tmp_path / name, output=output, **options))
    return read_prompts(tmp_path / "out.json")


def labels(prompts: PromptSet) -> list[tuple[str, str | None]]:
    return [(prompt.text, prompt.label) for prompt in prompts.prompts]


def a_set(*prompts: tuple[Any, ...], **changes: Any) -> PromptSet:
    fields = ("text", "label", "group", "pair")
    rows = [dict(zip(fields, prompt, strict=False)) for prompt in prompts]
    return PromptSet.model_validate(
        {"name": "s", "labels": ["no", "yes"], "prompts": rows, **changes}
    )


def test_create_prints_a_summary_and_writes_the_set(tmp_path: Path):
    out = tmp_path / "deep" / "p.json"
    text = circuit("create", "-o", out, "--set", WEATHER, "--per-tool", 5, "--no-tool", 8)
    assert text.startswith(
        "Dataset Summary:\n  Total prompts: 23\n  By label:\n    no_tool: 8\n    tool: 10\n"
    )
    assert "    (no label): 5\n" in text
    assert "    get_weather: 5\n" in text
    assert text.endswith(f"Saved to: {out}\n")
    assert len(read_prompts(out).prompts) == 23


def test_create_is_reproducible_and_does_not_overwrite(tmp_path: Path):
    create = (
        "create",
        "-o",
        tmp_path / "p.json",
        "--set",
        WEATHER,
        "--no-tool",
        "9",
        "--no-edge-cases",
    )
    circuit(*create)
    before = (tmp_path / "p.json").read_bytes()
    circuit(*create)
    with raises(ArtifactError, "output-exists"):
        circuit(*create, "--seed", 7)
    assert (tmp_path / "p.json").read_bytes() == before
    circuit(*create, "--seed", 7, "--force")
    assert (tmp_path / "p.json").read_bytes() != before


def test_create_as_json_says_the_same(tmp_path: Path):
    data = json.loads(
        circuit("create", "-o", tmp_path / "p.json", "--set", SUMS, "--size", 6, "--json")
    )
    assert (data["prompts"], data["pairs"], data["labels"]) == (12, 6, {"text": 6, "computed": 6})
    assert data["output"] == str(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("options", "code", "fields"),
    [
        ([WEATHER, "--size", "3"], "option-not-applicable", {"option": "--size"}),
        ([SUMS, "--per-tool", "3"], "option-not-applicable", {"option": "--per-tool"}),
        ([SUMS, "--no-tool", "0"], "option-not-applicable", {"option": "--no-tool"}),
        (["nothing"], "unknown-prompt-set", {"name": "nothing"}),
    ],
)
def test_options_that_do_not_apply_are_usage_errors(
    tmp_path: Path, options: list[str], code: str, fields: dict[str, str]
):
    with raises(UsageError, code, **fields):
        circuit("create", "-o", tmp_path / "p.json", "--set", *options)
    assert not list(tmp_path.iterdir())


def test_templates_that_cannot_give_so_many(tmp_path: Path):
    with raises(DataError, "too-few-fillings", count=94):
        circuit("create", "-o", tmp_path / "p.json", "--set", WEATHER)


def test_show_keeps_blanks_visible(tmp_path: Path):
    circuit("create", "-o", tmp_path / "p.json", "--set", SUMS, "--size", 4)
    text = circuit("show", tmp_path / "p.json", "--samples", 2)
    assert text.startswith("Dataset: sums (v1)\n  Total prompts: 8\n")
    lines = text.split("Sample prompts:\n")[1].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("  [")
    assert lines[0].endswith(("= '", "='"))
    shown = json.loads(circuit("show", tmp_path / "p.json", "--samples", 99, "--json"))
    assert [each["text"] for each in shown["samples"]] == read_prompts(tmp_path / "p.json").texts
    assert "Sample prompts" not in circuit("show", tmp_path / "p.json", "--samples", 0)


def test_sets_lists_what_comes_with_circuit():
    names = [each["name"] for each in json.loads(circuit("sets", "--json"))]
    assert all(name in circuit("sets") for name in names)
    assert {"tool_decision", "imperative", *builtin_concepts()} <= set(names)
    assert circuit("list") == circuit("sets")


def test_a_name_is_read_wherever_a_file_is(tmp_path: Path):
    assert "Total prompts" in circuit("show", "imperative")
    parts = [tmp_path / "a.json", tmp_path / "b.json"]
    circuit("split", "imperative", "--train", parts[0], "--test", parts[1])
    source = read_prompts(parts[0]).parameters["source"]
    assert source["path"] == "builtin:probes/syntactic/imperative.json"
    for verb in ("show", "check"):
        with raises(UsageError, "unknown-prompt-set", name="imperativ") as error:
            circuit(verb, "imperativ")
        assert error.value.hint.startswith("did you mean `imperative`?")
        assert all(f"{name}" in error.value.hint for name in builtin_concepts())


def test_import_of_the_documented_json(tmp_path: Path):
    prompts = [
        {"text": "Rain in Oslo?", "category": "weather", "expected_tool": "get_weather"},
        {"text": "Who wrote it? ", "category": "factual", "expected_tool": None},
    ]
    made = imported(tmp_path, "tools.json", json.dumps({"prompts": prompts}))
    assert made.labels == ("no_tool", "tool")
    assert labels(made) == [("Rain in Oslo?", "tool"), ("Who wrote it? ", "no_tool")]
    assert made.prompts[0].expected_tool == "get_weather"
    assert (made.name, made.format) == ("tools", "raw")


def test_import_of_numbered_labels_and_contrast_pairs(tmp_path: Path):
    document = {
        "name": "n",
        "version": "1.0",
        "label_names": {"1": "good", "0": "bad"},
        "prompts": [
            {"text": "a", "label": 1, "metadata": {"k": 1}},
            {"text": "b", "label": 0, "difficulty": "hard"},
        ],
        "contrastive_pairs": [
            {"positive": "a", "negative": "b", "pair_name": "ab"},
            {"positive": "c", "negative": "d"},
        ],
    }
    made = imported(tmp_path, "n.json", json.dumps(document))
    assert (made.name, made.labels) == ("n", ("bad", "good"))
    assert labels(made) == [("a", "good"), ("b", "bad"), ("c", "good"), ("d", "bad")]
    assert made.pairs().tolist() == [[0, 1], [2, 3]]
    assert [p.group for p in made.prompts] == ["ab", "ab", "pair/1", "pair/1"]
    assert (made.prompts[0].metadata, made.prompts[1].metadata) == (
        {"k": 1},
        {"difficulty": "hard"},
    )


def test_two_columns_of_one_name_are_refused(tmp_path: Path):
    with raises(ArtifactError, "duplicate-column", column="text"):
        imported(tmp_path, "twins.csv", "text,text,label\na,b,x\n")


def test_import_of_csv_with_columns_of_other_names(tmp_path: Path):
    text = 'prompt,mood,source,n\n"hello, you ",sad,a,1\n"line\nbreak",happy,b,2\n nothing,,b,\n'
    made = imported(
        tmp_path,
        "m.csv",
        text,
        text_column="prompt",
        label_column="mood",
        group_column="source",
        labels="sad,happy",
        prompt_format="chat",
    )
    assert labels(made) == [("hello, you ", "sad"), ("line\nbreak", "happy"), (" nothing", None)]
    assert (made.labels, made.format) == (("sad", "happy"), "chat")
    assert [p.group for p in made.prompts] == ["a", "b", "b"]
    assert [p.metadata for p in made.prompts] == [{"n": "1"}, {"n": "2"}, {}]


def test_import_by_the_command_line(tmp_path: Path):
    (tmp_path / "m.tsv").write_text("t\tkind\tlabel\nx\ta\t10\ny\tb\t9\nz\tb\t10\n")
    circuit("import", tmp_path / "m.tsv", "-o", tmp_path / "o.json", "--text-column", "t", "--category-column", "kind", "--name", "mine")  # fmt: skip
    made = read_prompts(tmp_path / "o.json")
    assert (made.name, made.labels) == ("mine", ("9", "10"))
    assert [p.category for p in made.prompts] == ["a", "b", "b"]
    assert made.parameters["source"]["path"] == "m.tsv"


def test_import_of_lines_keeps_unusual_separators(tmp_path: Path):
    made = imported(tmp_path, "l.jsonl", '"one\u2028two"\n\n{"text": "b", "label": true}\n')
    assert labels(made) == [("one\u2028two", None), ("b", "true")]


def test_a_column_that_is_replaced_becomes_metadata(tmp_path: Path):
    made = imported(tmp_path, "c.csv", "text,label,gold\na,x,1\nb,y,0\n", label_column="gold")
    assert labels(made) == [("a", "1"), ("b", "0")]
    assert made.prompts[0].metadata == {"label_column": "x"}


def test_a_prompt_set_is_imported_as_it_is(tmp_path: Path):
    circuit("create", "-o", tmp_path / "p.json", "--set", WEATHER, "--no-tool", 9)
    circuit("import", tmp_path / "p.json", "-o", tmp_path / "q.json")
    before, after = (read_prompts(tmp_path / name) for name in ("p.json", "q.json"))
    assert after.model_copy(update={"parameters": before.parameters}) == before


def test_equal_rows(tmp_path: Path):
    text = "text,label\na,x\nb,y\na,x\n"
    with raises(DataError, "duplicate-rows", rows=(0, 2)) as caught:
        imported(tmp_path, "d.csv", text)
    assert "--drop-duplicates" in caught.value.hint
    assert len(imported(tmp_path, "d.csv", text, drop_duplicates=True).prompts) == 2
    with raises(DataError, "two-labels", text="a"):
        imported(tmp_path, "d.csv", text + "a,y\n", drop_duplicates=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "x", "not a table"),
        ("a.csv", "text,label\na\n", "line 2 .* more or fewer cells"),
        ("a.csv", 'text\n"a"b\n', "line 2 .* not CSV"),
        ("a.csv", "prompt\na\n", "row 0 .* has no `text`"),
        ("a.csv", "text\n", "no rows"),
        ("a.csv", "text\n'  '\n  \n", "empty"),
        ("a.jsonl", '{"text": "a"}\n{', "line 2 .* not JSON"),
        ("a.jsonl", "3\n", "line 1 .* neither"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"a": 1}', "no list of prompts"),
        ("a.json", '[{"text": "a", "metadata": {"a": 1}, "label": "x"}, {"label": "y"}]', "row 1"),
        ("a.json", '{"format": "loud", "prompts": ["a"]}', "`format`"),
        (
            "a.json",
            '{"prompts": ["a"], "contrastive_pairs": [{"positive": "a"}]}',
            "no text `negative`",
        ),
        ("a.json", '{"schema": "circuit.templates/1", "prompts": []}', "template file"),
    ],
)
def test_bad_tables_are_one_sentence(tmp_path: Path, name: str, text: str, message: str):
    with pytest.raises(CircuitError, match=message) as caught:
        imported(tmp_path, name, text)
    assert caught.value.hint
    assert not (tmp_path / "out.json").exists()


def test_columns_and_labels_that_are_not_there(tmp_path: Path):
    with raises(UsageError, "unknown-column", column="gold"):
        imported(tmp_path, "a.csv", "text\na\n", label_column="gold")
    with raises(DataError, "unknown-label", label="x"):
        imported(tmp_path, "a.csv", "text,label\na,x\n", labels="y,z")


def test_tables_that_are_not_utf8(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(b"text\n\xff\n")
    with pytest.raises(ArtifactError, match="not UTF-8"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize("seed", range(5))
def test_split_shares_no_group_and_keeps_the_balance(tmp_path: Path, seed: int):
    prompts = [(f"{i}", ["no", "yes"][i % 2], f"g{i % 40}") for i in range(200)]
    a_set(*prompts).save(tmp_path / "p.json")
    train, test = split(
        tmp_path / "p.json", tmp_path / "a.json", tmp_path / "b.json", test_fraction=0.3, seed=seed
    )
    assert not set(train.groups()) & set(test.groups())
    assert sorted(train.texts + test.texts) == sorted(str(i) for i in range(200))
    assert Counter(p.label for p in test.prompts) == {"no": 30, "yes": 30}
    assert test.parameters["source"]["path"] == "p.json"


def test_split_keeps_pairs_and_equal_texts_together(tmp_path: Path):
    prompts = [
        (f"t{i // 4}", label, f"g{i}{label}", f"p{i}") for i in range(40) for label in ("no", "yes")
    ]
    a_set(*prompts).save(tmp_path / "p.json")
    parts = split(tmp_path / "p.json", tmp_path / "a.json", tmp_path / "b.json")
    train, test = ({p.pair for p in part.prompts} for part in parts)
    assert not train & test
    assert not set(parts[0].texts) & set(parts[1].texts)


def test_split_by_the_command_line_is_reproducible(tmp_path: Path):
    circuit("create", "-o", tmp_path / "p.json", "--set", WEATHER, "--no-tool", 40)
    run = (
        "split",
        tmp_path / "p.json",
        "--train",
        tmp_path / "a.json",
        "--test",
        tmp_path / "b.json",
    )
    assert circuit(*run) == circuit(*run)
    data = json.loads(circuit(*run, "--json"))
    assert data["train"]["prompts"] + data["test"]["prompts"] == 98


def test_splits_that_cannot_be_made(tmp_path: Path):
    path, a, b = tmp_path / "p.json", tmp_path / "a.json", tmp_path / "b.json"
    a_set(("a", "no", "1"), ("b", "yes", "2"), ("c", "yes", "3")).save(path)
    parts = ("--train", a, "--test", b)
    with raises(DataError, "label-missing-in-part"):
        circuit("split", path, *parts)
    with raises(UsageError, "out-of-range"):
        circuit("split", path, *parts, "--test-fraction", 1.0)
    with raises(UsageError, "output-named-twice"):
        circuit("split", path, "--train", a, "--test", a)
    assert not a.exists()


GOOD = [(f"{i} {'yes' if i % 2 else 'no'} x", ["no", "yes"][i % 2], f"g{i}") for i in range(12)]


CLEAN = [
    (f"{word} {a} {word} {b} {word}", label, word, word)
    for word in WORDS
    for a, b, label in (("one", "two", "no"), ("two", "one", "yes"))
]


def test_a_sound_set_has_no_findings():
    assert [f for f in findings(a_set(*GOOD)) if f.level == "problem"] == []


def test_pairs_of_the_same_words_are_clean(tmp_path: Path):
    a_set(*CLEAN).save(tmp_path / "p.json")
    text = circuit("check", tmp_path / "p.json")
    assert "words: 0.50  [0.50, 0.50]" in text
    assert text.endswith("Clean.\n")


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        (GOOD, "`words` reaches 1.00 without a model, more than 0.6"),
        ([(f"{t}{'!' * (y == 'yes')}", y, g) for t, y, g, _ in CLEAN], "`surface` reaches 1.00"),
        (CLEAN[:8], "4 groups are too few to know: 10 are the least"),
        (CLEAN[::2], "no grouped split of it is possible"),
        ([(text, label, f"{word}/{label}") for text, label, word, _ in CLEAN], "`words` falls to"),
    ],
)
def test_a_set_that_needs_no_model_is_not_clean(tmp_path: Path, prompts: list[Any], reason: str):
    a_set(*prompts).save(tmp_path / "p.json")
    text = circuit("check", tmp_path / "p.json", exit_code=1)
    assert "Not clean:\n" in text
    assert f"\n  {reason}" in text


def test_the_bound_is_the_users(tmp_path: Path):
    noisy = [(f"{t}{'.' * (y == 'yes' and g < 'f')}", y, g, p) for t, y, g, p in CLEAN]
    a_set(*noisy).save(tmp_path / "p.json")
    assert "more than 0.5" in circuit("check", tmp_path / "p.json", "--bound", 0.5, exit_code=1)


def test_a_verdict_is_in_the_file_and_current_until_the_file_changes(tmp_path: Path):
    file = tmp_path / "p.json"
    a_set(*CLEAN).save(file)
    circuit("check", file)
    assert current_verdict(file) is None
    circuit("check", file, "--write")
    verdict = current_verdict(file)
    assert verdict
    assert verdict.clean
    assert verdict.baselines == dict.fromkeys(("words", "word_pairs", "surface"), (0.5, 0.5, 0.5))
    assert (verdict.n, verdict.n_groups) == (24, 12)
    before = file.read_bytes()
    circuit("check", file, "--write")
    assert file.read_bytes() == before
    assert read_prompts(file).subset(range(4)).verdict is None
    file.write_text(file.read_text().replace("sun", "sunny"))
    assert current_verdict(file) is None


def test_a_verdict_in_a_template_file(tmp_path: Path):
    file = tmp_path / "sums.json"
    file.write_text(Path(SUMS).read_text())
    circuit("check", file, "--write", exit_code=1)
    verdict = current_verdict(file)
    assert verdict
    assert not verdict.clean
    assert json.loads(file.read_text())["items"] == json.loads(Path(SUMS).read_text())["items"]


def test_a_folder_and_a_name_are_checked_too(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    a_set(*CLEAN).save(tmp_path / "deep" / "p.json")
    (tmp_path / "other.json").write_text("{}")
    text = circuit("check", tmp_path, "tool_decision")
    rows = text.strip().splitlines()[-2:]
    assert [row.split()[0] for row in rows] == ["s", "tool_decision"]
    assert all(row.endswith(" clean") for row in rows)
    (tmp_path / "empty").mkdir()
    with raises(DataError, "no-prompt-sets"):
        circuit("check", tmp_path / "empty")


def contrasts(tmp_path: Path, **item: Any) -> Path:
    document = {
        "schema": "circuit.templates/1",
        "name": "three",
        "format": "raw",
        "labels": ["sun", "rain", "snow"],
        "slots": {"when": ["today", "now"]},
        "items": [{"category": "c", **item}],
    }
    (tmp_path / "t.json").write_text(json.dumps(document))
    return tmp_path / "t.json"


def test_a_contrast_is_one_sentence_for_each_label(tmp_path: Path):
    sentences = {"rain": "{when} drops", "sun": "{when} rays", "snow": "{when} flakes"}
    path = contrasts(
        tmp_path, contrasts=[sentences, {k: f"{v} fall" for k, v in sentences.items()}]
    )
    made = read_prompts(path)
    assert ("today drops", "rain") in labels(made)
    assert ("now flakes fall", "snow") in labels(made)
    assert sorted(Counter(made.groups().tolist()).values()) == [6, 6]
    assert Counter(Counter(p.pair for p in made.prompts).values()) == {3: 4}
    assert not [f for f in findings(made) if "span" in f.message or "pair" in f.message]
    lost = made.subset(range(len(made.prompts) - 1))
    assert any("is not one prompt of each label" in f.message for f in findings(lost))


def test_an_item_may_be_one_group(tmp_path: Path):
    sentences = {"rain": "{when} drops", "sun": "{when} rays", "snow": "{when} flakes"}
    twice = [sentences, {k: f"{v} fall" for k, v in sentences.items()}]
    made = read_prompts(contrasts(tmp_path, contrasts=twice, group="sky"))
    assert set(made.groups().tolist()) == {"sky"}
    assert len({p.pair for p in made.prompts}) == 4


def test_a_contrast_that_lacks_a_label_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="does not have one sentence for each label"):
        read_prompts(contrasts(tmp_path, contrasts=[{"rain": "drops", "sun": "rays"}]))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([("0 no x", "no", "g0")], "'0 no x' occurs 2 times"),
        ([("0 no x", "yes", "h")], "'0 no x' has the labels `no` and `yes`"),
        ([("new", "yes", "g0")], "the group `g0` spans the labels `no`, `yes` without pairs"),
        ([("new", "yes", "h", "p")], "the pair `p` is not one prompt of each label"),
        ([(f"n{i}", "yes", f"h{i}") for i in range(60)], "`yes` has 66 prompts, `no` has 6"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, extra: list[Any], message: str):
    a_set(*GOOD, *extra).save(tmp_path / "p.json")
    assert f"problem: {message}" in circuit("check", tmp_path / "p.json", exit_code=1)
    data = json.loads(circuit("check", tmp_path / "p.json", "--json", exit_code=1))
    assert {"level": "problem", "message": message} in data[0]["findings"]
    assert any(message in reason for reason in data[0]["verdict"]["reasons"])


def test_one_label_only():
    found = [f.message for f in findings(a_set(("a", "yes", "1"), ("b", "yes", "2")))]
    assert "no prompt has the label `no`" in found
    assert "1 label has prompts: nothing can be told apart" in found


FIRST_WORD = "the labels can be told apart by `first word` alone"


def messages(*prompts: tuple[Any, ...]) -> list[str]:
    return [found.message for found in findings(a_set(*prompts))]


def test_first_words_that_occur_once_tell_nothing():
    once = [(f"w{i}{j} is it", ("no", "yes")[i % 2], f"g{i}") for i in range(14) for j in range(3)]
    assert FIRST_WORD not in messages(*once)
    in_one_group = [
        (f"w{i} is {j}", ("no", "yes")[i % 2], f"g{i}") for i in range(14) for j in "ab"
    ]
    assert FIRST_WORD not in messages(*in_one_group)
    ask = [(f"{'please' if y == 'yes' else t[:3]} {t}", y, g) for t, y, g in once]
    assert FIRST_WORD in messages(*ask)  # what is no `please` is a `no`


def test_groups_of_one_label_each_are_said():
    said = "each of the 14 groups has one label"
    rows = [(f"{j} {i} is it", ("no", "yes")[i % 2], f"g{i}") for i in range(14) for j in range(3)]
    assert any(message.startswith(said) for message in messages(*rows))
    assert not any("has one label" in message for message in messages(*CLEAN))


def test_groups_may_span_labels_in_pairs(tmp_path: Path):
    made = a_set(
        *[
            (f"{i}{tail}", y, "g", f"{i}")
            for i in range(4)
            for tail, y in (("= ", "yes"), ("=", "no"))
        ]
    )
    found = [f.message for f in findings(made)]
    assert not any("spans" in message for message in found)
    assert "`yes` has prompts of 1 group only" in found
    assert "the labels can be told apart by `blank at the end` alone" in found
    assert surface(made)["blank at the end"] == {"no": 0.0, "yes": 1.0}
