"""Texts of examples as vectors: each once, and only what the drawn queries need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eci.errors import EncoderError
from eci.examples import Examples, shorten
from eci.similarity import normalise, unusable
from eci.types import Encoder, Flags, Integers, Role, Vectors

# Texts asked for at once: their vectors stand beside the table until they are in it.
_AT_ONCE = 1 << 16


class Embedded:
    """Vectors of the queries and documents of some examples, filled in as rounds need them.

    Parameters
    ----------
    examples : Examples
    encoder : Encoder
    candidates : sequence of str
        The documents that will be searched, to embed whatever queries are drawn. Those that no row holds come
        after the others. Without them it is the documents of the rows that are searched.
    """

    def __init__(self, examples: Examples, encoder: Encoder, candidates: Sequence[str] = ()) -> None:
        self._examples = examples
        self._encoder = encoder
        places = {text: place for place, text in enumerate(examples.documents)} if candidates else {}
        always = [places.setdefault(text, len(places)) for text in candidates]
        self._texts = tuple(places) or examples.documents
        self._always = np.array(always, dtype=np.int64)
        self._searched = np.zeros(len(self._texts), dtype=np.bool_)
        self._searched[self._always] = True
        self.has_query = np.zeros(len(examples.queries), dtype=np.bool_)
        self.has_document = np.zeros(len(self._texts), dtype=np.bool_)
        self.queries: Vectors = np.empty((0, 0), dtype=np.float32)
        self.documents: Vectors = np.empty((0, 0), dtype=np.float32)

    @property
    def asked(self) -> dict[str, int]:
        """How many texts were asked of the encoder, by role."""
        return {"queries": int(self.has_query.sum()), "documents": int(self.has_document.sum())}

    def by_text(self) -> Integers:
        """The documents that are embedded, in an order that does not depend on how they were read."""
        return self._sorted(self.has_document)

    def searched(self) -> Integers:
        """The candidates and all positives; without candidates every embedded document. Ordered as `by_text`.

        A negative that somebody wrote is in no corpus: beside the candidates it is not searched.
        """
        return self._sorted(self._searched) if len(self._always) else self.by_text()

    def _sorted(self, chosen: Flags) -> Integers:
        found = np.flatnonzero(chosen).tolist()
        return np.array(sorted(found, key=self._texts.__getitem__), dtype=np.int64)

    def prepare(self, queries: Integers) -> None:
        """Embed what the given queries need and what is not embedded yet."""
        examples = self._examples
        needed = np.zeros(len(self._texts), dtype=np.bool_)
        needed[self._always] = True
        for rows in (examples.positives, examples.negatives):
            needed[rows.take(queries).values] = True
        self.queries = self._fill(self.queries, examples.queries, queries, "query")
        self.has_query[queries] = True
        self._searched[examples.positives.take(queries).values] = True
        new = np.flatnonzero(needed & ~self.has_document)
        self.documents = self._fill(self.documents, self._texts, new, "document")
        if self.queries.shape[1] != self.documents.shape[1]:
            raise EncoderError(
                f"The encoder gave queries of {self.queries.shape[1]} dimensions and documents of "
                f"{self.documents.shape[1]}; a cosine needs the same."
            )
        self.has_document[new] = True

    def _fill(self, table: Vectors, texts: tuple[str, ...], new: Integers, role: Role) -> Vectors:
        for start in range(0, len(new), _AT_ONCE):
            chosen = new[start : start + _AT_ONCE]
            vectors = encode(self._encoder, [texts[number] for number in chosen.tolist()], role)
            if table.size == 0:
                if len(chosen) == len(texts) and np.array_equal(chosen, np.arange(len(texts))):
                    return vectors
                table = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
            table[chosen] = vectors
        return table


def encode(encoder: Encoder, texts: list[str], role: Role) -> Vectors:
    """L2-normalised vectors of n texts, of shape (n, d).

    Raises
    ------
    EncoderError
        The encoder gave another shape, or a vector that is not finite or has no length; the message
        names the text.
    """
    function = encoder.encode_query if role == "query" else encoder.encode_document
    vectors = np.asarray(function(texts))
    if vectors.dtype.kind not in "fiu":
        raise EncoderError(f"The encoder gave {vectors.dtype} values in the place of numbers.")
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise EncoderError(
            f"The encoder gave an array of shape {vectors.shape} for {len(texts)} texts; "
            f"expected ({len(texts)}, d)."
        )
    refuse_unusable(vectors, texts)
    return normalise(vectors)


def refuse_unusable(vectors: Vectors, texts: list[str]) -> None:
    """Raise an `EncoderError` that names the first text whose vector is not finite or has no length."""
    bad = unusable(vectors)
    if len(bad):
        kind = "zero" if np.all(vectors[bad[0]] == 0) else "non-finite"
        raise EncoderError(
            f"The encoder gave a {kind} vector for {len(bad):,} of {len(texts):,} texts, first for "
            f"{shorten(texts[bad[0]])!r}. Nothing can be scored with it: remove the text, or use another "
            "precision or encoder."
        )
