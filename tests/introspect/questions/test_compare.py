"""Two models: numbers are those of each alone, and what cannot be compared is reported."""

import gc

import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises
from other_tokenizer import rewrite_tokenizer
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from circuit.errors import DataError, UsageError
from circuit.introspect.compare.predictions import TokenRank
from circuit.introspect.compare.two_models import LoadingOptions, ask_each, keys_of
from circuit.introspect.compare.vocabulary import Vocabulary
from circuit.introspect.lens.distributions import next_log_probs
from circuit.introspect.questions.compare import compare, present, rank_text
from circuit.model.checkpoint.loading import LoadedModel, load_model
from circuit.present.terminal import terminal
from circuit.stages.options import ModelOptions
from circuit.stages.rows.prompt_input import PromptInput, read_prompt_input
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW

GIVEN = PromptInput(["ab c", "Hello ", "Hello"])


@pytest.fixture(scope="module")
def deeper(tmp_path_factory):
    """A model of another depth and other weights, with the same tokenizer."""
    return write_checkpoint(tmp_path_factory.mktemp("deeper"), seed=1, num_hidden_layers=5)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The first model's weights behind another tokenizer."""
    folder = write_checkpoint(tmp_path_factory.mktemp("foreign"))
    rewrite_tokenizer(folder)
    return folder


def options(*folders):
    return tuple(ModelOptions(model=str(folder)) for folder in folders)


def test_numbers_are_those_of_the_models_alone(llama_folder, deeper):
    found = compare(options(llama_folder, deeper), GIVEN, track=["H"])
    models = [load_model(str(folder)) for folder in (llama_folder, deeper)]
    raw = RAW
    p, q = (np.exp(next_log_probs(m, encode(m, GIVEN.texts, raw)).astype(float)) for m in models)
    assert found.same_vocabulary
    for i, each in enumerate(found.prompts):
        assert each.js == pytest.approx(jensenshannon(p[i], q[i]) ** 2, abs=1e-6)
        assert each.kl_1_2 == pytest.approx(entropy(p[i], q[i]), abs=1e-5)
        assert each.kl_2_1 == pytest.approx(entropy(q[i], p[i]), abs=1e-5)
        for view, own, other in zip(each.views, (p, q), (q, p), strict=True):
            theirs = int(other[i].argmax())
            assert view.probability == pytest.approx(own[i].max(), rel=1e-4)
            assert view.others_answer.rank == 1 + int((own[i] > own[i][theirs]).sum())
            assert view.tracked[0].probability is not None
            if view.depth is not None:
                blocks = 3 if own is p else 5
                assert view.depth == pytest.approx((view.emergence_layer + 1) / blocks)
    assert found.agreement == np.mean([each.same_answer for each in found.prompts])


def test_a_model_is_equal_to_itself(llama_folder):
    found = compare(options(llama_folder, llama_folder), GIVEN)
    assert found.agreement == 1
    assert found.js == [0, 0, 0]
    for each in found.prompts:
        assert each.views[0] == each.views[1]
        assert each.views[0].others_answer.rank == 1


def test_another_tokenizer_is_compared_by_text(llama_folder, foreign):
    found = compare(options(llama_folder, foreign), GIVEN, track=["ab"])
    assert not found.same_vocabulary
    assert found.js is None
    first, second = found.prompts[0].views
    assert (first.n_tokens, second.n_tokens) == (5, 3)  # <s> a b ␣ c, and <s> ab ␣c
    assert first.tracked[0].pieces == ["a", "b"]
    assert first.tracked[0].rank is None
    assert second.tracked[0].rank is not None
    ours, theirs = (Vocabulary(load_model(str(f)).tokenizer) for f in (llama_folder, foreign))
    assert not ours.same_as(theirs)
    for text in ("a", "Z", " "):
        token = theirs.find(text, [3, 4])
        assert theirs.added([3, 4], token) == text
        assert token != ours.find(text, [3, 4])
    assert ours.find(" c", [3]) is None
    assert theirs.find(" c", [3]) is not None


def test_a_piece_of_a_character_is_not_compared():
    for text, said in (
        ("\N{REPLACEMENT CHARACTER}", "is a piece of a character: not compared"),
        ("ab", "is not one token (but '?', '?'): no rank"),
    ):
        rank = TokenRank(text=text, rank=None, probability=None, pieces=["?", "?"])
        assert rank_text(rank).endswith(said)


def test_few_prompts_are_an_example_however_few(llama_folder):
    found = compare(options(llama_folder, llama_folder), PromptInput(["a"]))
    text = terminal(present(found))
    assert text.count("1 independent prompt: an example") == 1


def test_a_tracked_text_that_is_a_token_of_neither(llama_folder, deeper):
    with raises(UsageError, "several-tokens", text="ab"):
        compare(options(llama_folder, deeper), GIVEN, track=["ab"])


def test_one_model_at_a_time(llama_folder, deeper):
    """While the second is asked, the first is gone."""

    def count(*_):
        return sum(type(each) is LoadedModel for each in gc.get_objects())

    before = count()
    assert ask_each(options(llama_folder, deeper), count) == [before + 1, before + 1]


def test_what_cannot_be_asked(llama_folder):
    with raises(UsageError, "no-second-model", model=str(llama_folder)):
        LoadingOptions().two_models(str(llama_folder), None, name="-m2")
    for bad in ("", "a||b", "a|"):
        with raises(DataError, "empty-prompt"):
            read_prompt_input(bad)
    assert read_prompt_input("a |a").texts == ["a ", "a"]


def test_a_model_is_identified_without_its_weights(llama_folder, foreign):
    for key, folder in zip(
        keys_of(options(llama_folder, foreign)), (llama_folder, foreign), strict=True
    ):
        model = load_model(str(folder))
        assert (key.model, key.tokenizer) == (model.identity, model.tokenizer_identity)
