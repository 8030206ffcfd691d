"""CausalNeg's entropy term against naive loops, and where it does and does not act."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'encode' is not installed")
pytest.importorskip("accelerate", reason="the extra 'train' is not installed")

import torch

from eci.errors import EciError
from eci.training.finetune import Training
from eci.training.losses import entropy_term, library, loss_of
from tiny_bert import one_thread, saved_bert, tiny_bert  # noqa: F401

KINDS = [(False, False, True), (True, False), (True, True, False, True, False), (False, True, True)]


def drawn(columns, rows=4, seed=0):
    rng = np.random.default_rng(seed)
    texts = [torch.tensor(rng.standard_normal((rows, 6)), requires_grad=True) for _ in range(columns + 1)]
    return texts[0], texts[1:]


def naive(query, negatives, generated, temperature=0.1):
    """L_ent from its definition, query by query."""
    terms = []
    for row in range(len(query)):
        q = query[row].detach().numpy()
        powers = []
        for column in negatives:
            d = column[row].detach().numpy()
            cosine = float(q @ d / math.sqrt(q @ q) / math.sqrt(d @ d))
            powers.append(math.exp(cosine / temperature))
        chances = [power / sum(powers) for power in powers]
        share = sum(chance for chance, made in zip(chances, generated, strict=True) if made)
        within = [chance / share for chance, made in zip(chances, generated, strict=True) if made]
        entropy = -sum(chance * math.log(chance) for chance in within)
        terms.append(-entropy + (share - sum(generated) / len(generated)) ** 2)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("generated", KINDS)
def test_the_term_is_that_of_the_loops(generated):
    query, negatives = drawn(len(generated), seed=len(generated))
    found = float(entropy_term(query, negatives, generated).detach())
    assert found == pytest.approx(naive(query, negatives, generated), abs=1e-5)
    assert -math.log(sum(generated)) <= found < 1


@pytest.mark.parametrize("generated", KINDS)
def test_only_generated_documents_get_a_gradient(generated):
    query, negatives = drawn(len(generated))
    entropy_term(query, negatives, generated).backward()
    assert query.grad is None
    for document, made in zip(negatives, generated, strict=True):
        assert (document.grad is not None) == made
        assert not made or float(document.grad.abs().sum()) > 0


def test_one_generated_negative_has_no_entropy():
    query, negatives = drawn(3)
    cosine = torch.stack([torch.cosine_similarity(query, each) for each in negatives], dim=1)
    share = torch.softmax(cosine / 0.1, dim=1)[:, 1]
    expected = float(((share - 1 / 3) ** 2).mean().detach())
    assert float(entropy_term(query, negatives, [False, True, False]).detach()) == pytest.approx(
        expected, abs=1e-6
    )


def test_equal_cosines_give_minus_the_logarithm_of_their_number():
    query = torch.ones(2, 3)
    assert float(entropy_term(query, [query] * 5, [True, True, True, False, False])) == pytest.approx(
        -math.log(3), abs=1e-6
    )


@pytest.mark.parametrize("generated", KINDS)
def test_labels_tell_the_columns_and_not_their_places(generated):
    query, negatives = drawn(len(generated))
    expected = entropy_term(query, negatives, generated)
    for order in ([*range(len(generated))[::-1]], [*range(1, len(generated)), 0]):
        moved = entropy_term(query, [negatives[n] for n in order], [generated[n] for n in order])
        assert torch.allclose(moved, expected, atol=1e-6)


def features(model, columns=4, rows=6, seed=0):
    rng = np.random.default_rng(seed)
    words = np.array("retrieval query index score batch loss title sample".split())
    texts = [[" ".join(rng.choice(words, 5)) for _ in range(rows)] for _ in range(columns)]
    return [dict(getattr(model, "preprocess", getattr(model, "tokenize", None))(each)) for each in texts]


def graded(model, loss, given):
    """The loss, and the gradient of all weights."""
    model.zero_grad()
    value = loss([dict(each) for each in given], None)
    value.backward()
    return float(value.detach()), torch.cat(
        [p.grad.ravel() for p in model.parameters() if p.grad is not None]
    )


@pytest.fixture(scope="module")
def model():
    made = tiny_bert(dropout=0.0)
    return made.train()


def test_the_term_is_added_to_the_ranking_loss_with_its_weight(model):
    given, generated = features(model), {"1-1": (False, True)}
    training = Training(generated=("llm",), entropy=0.3)
    plain = graded(model, loss_of(model, Training(), generated), given)[0]
    with torch.no_grad():
        texts = [model(dict(each))["sentence_embedding"] for each in given]
    term = float(entropy_term(texts[0], texts[2:], generated["1-1"]))
    found = graded(model, loss_of(model, training, generated), given)[0]
    assert found == pytest.approx(plain + 0.3 * term, abs=1e-5)
    assert abs(term) > 1e-3


@pytest.mark.parametrize("mini_batch_size", [1, 4, 32])
def test_in_little_memory_it_is_the_same_loss_with_the_same_gradient(model, mini_batch_size):
    given, generated = features(model, columns=5), {"": (True, False, True)}
    training = Training(generated=("llm",), entropy=0.5)
    cached = Training(loss="cached-mnrl", generated=("llm",), entropy=0.5, mini_batch_size=mini_batch_size)
    value, gradient = graded(model, loss_of(model, training, generated), given)
    small_value, small_gradient = graded(model, loss_of(model, cached, generated), given)
    assert small_value == pytest.approx(value, abs=1e-5)
    assert torch.allclose(small_gradient, gradient, atol=1e-5)
    without = graded(model, loss_of(model, Training(), generated), given)[1]
    assert not torch.allclose(gradient, without, atol=1e-4)


def test_rows_without_both_kinds_have_no_term(model):
    training = Training(generated=("llm",))
    found = loss_of(model, training, {"1-1": (False, True), "1-0": (False,), "0-1": (True,), "0-0": ()})
    plain = library().MultipleNegativesRankingLoss
    assert {name: type(each) is plain for name, each in found.items()} == {
        "1-1": False,
        "1-0": True,
        "0-1": True,
        "0-0": True,
    }
    assert type(loss_of(model, training, {"1": (False,)})) is plain
    assert type(loss_of(model, Training(), {"1-1": (False, True)})) is plain


def test_the_temperature_is_the_inverse_of_the_scale(model):
    assert loss_of(model, Training(temperature=0.02), {"": ()}).scale == 50
    assert loss_of(model, Training(temperature=0.02, loss="cached-mnrl"), {"": ()}).scale == 50
    gist = loss_of(model, Training(temperature=0.02, loss="gist", guide=saved_bert()), {"": ()})
    assert gist.temperature == 0.02
    assert gist.guide is not model


def test_gist_takes_one_negative(model):
    with pytest.raises(
        EciError, match=r"gist takes one hard negative in a row, and these have 2\. Ask for 1"
    ):
        loss_of(model, Training(loss="gist", guide=saved_bert()), {"1-1": (False, False)})
