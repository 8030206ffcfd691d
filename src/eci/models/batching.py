"""Batches of texts or of pairs: longest first, bounded by tokens, whatever was done before them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eci.errors import EncoderError
from eci.examples import shorten
from eci.types import Floats, Integers

_CPU_TOKENS = 2048
_GPU_TOKENS = 65_536
_CHARACTERS_PER_TOKEN = 4
_NO_LIMIT = 2**31
_CHUNK = 1024


def token_bound(device: str) -> int:
    """Tokens of a padded batch that keep a device busy and fit; `device` as in ``torch.device.type``."""
    return _CPU_TOKENS if device == "cpu" else _GPU_TOKENS


def token_lengths(
    tokenizer: Any, texts: Sequence[str], limit: float | None, special: bool = True
) -> Integers:
    """Tokens that a model reads of each text, of shape (n,).

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase or anything else
        Where it cannot be called, a token is taken to be four characters.
    texts : sequence of str
    limit : float, optional
        Most tokens that the model reads.
    special : bool
        Whether to count the tokens that the tokenizer adds.
    """
    most = int(min(limit or _NO_LIMIT, _NO_LIMIT))
    found = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        # Words beyond the limit are never read; their characters need no tokenizing to be counted.
        cut = [text[: 64 * most] for text in texts[start : start + _CHUNK]]
        if callable(tokenizer):
            numbers = tokenizer(cut, add_special_tokens=special, truncation=False, verbose=False)["input_ids"]
            found[start : start + _CHUNK] = [len(row) for row in numbers]
        else:
            found[start : start + _CHUNK] = [1 + len(text) // _CHARACTERS_PER_TOKEN for text in cut]
    return np.minimum(found, most)


def text_keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """A number that each text decides, of shape (n,): breaks ties between texts of one length."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64)


def of_used(
    function: Callable[[Sequence[str]], NDArray[Any]], texts: Sequence[str], places: Integers
) -> NDArray[Any]:
    """What `function` says of the texts at `places`, of shape (n,), asking once for each of them."""
    used, back = np.unique(places, return_inverse=True)
    return function([texts[place] for place in used.tolist()])[back]


def planned(lengths: Integers, keys: Sequence[NDArray[np.uint64]], tokens: int) -> list[Integers]:
    """Batches of indices of n texts or pairs: longest first, each at most `tokens` when padded.

    The batches after any batch do not depend on the ones before it, so a run that goes on after
    a kill makes the very batches that the first run would have made.

    Parameters
    ----------
    lengths : ndarray of shape (n,)
        In tokens.
    keys : sequence of ndarray of shape (n,)
        The order among equal lengths, the first key first; from `text_keys`.
    tokens : int
        One text or pair alone may have more.
    """
    order = np.lexsort((*reversed(keys), -lengths))
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size].astype(np.int64))
        start += size
    return batches


def collected(
    batches: Iterable[tuple[Integers, Floats]],
    queries: Sequence[str],
    documents: Sequence[str],
    pairs: Integers,
) -> Floats:
    """Scores that come in batches, in the order of the n pairs, of shape (n,).

    Raises
    ------
    EncoderError
        A score is not finite.
    """
    scores = np.full(len(pairs), np.nan)
    for places, found in batches:
        refuse_unusable_scores(found, queries, documents, pairs[places])
        scores[places] = found
    return scores


def refuse_unusable_scores(
    scores: Floats, queries: Sequence[str], documents: Sequence[str], pairs: Integers
) -> None:
    """Raise an `EncoderError` that names the first pair whose score is not finite."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query, document = pairs[bad[0]].tolist()
        raise EncoderError(
            f"The reranker gave a non-finite score for {len(bad):,} of {len(scores):,} pairs, first for the "
            f"query {shorten(queries[query])!r} and the document {shorten(documents[document])!r}. "
            "Nothing can be ranked by it: remove the text, or use another precision or reranker."
        )
