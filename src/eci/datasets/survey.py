"""Which sources rows have before those of a query are brought together, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets.columns import Documents
from eci.datasets.rows import Rows
from eci.examples import NEGATIVE


class Surveyed:
    """Rows with the negatives of the parts alone, surveyed as they are gone through first."""

    def __init__(self, rows: Rows, sources: tuple[str, ...] | None) -> None:
        self.survey = Survey()
        self._rows, self._wanted = rows, None if sources is None else pa.array(sources, pa.string())
        self._surveyed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._rows:
            chosen = batch if self._wanted is None else self._restricted(batch)
            if not self._surveyed:
                self.survey.add(chosen)
            yield chosen
        self._surveyed = True

    def _restricted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        negatives = Documents.of(batch.column("negatives"))
        source = negatives.fields["source"]
        wanted = np.asarray(pc.is_in(source, value_set=self._wanted))
        if wanted.all():
            return batch
        if not self._surveyed:
            others = source.filter(pa.array(~wanted)).value_counts()
            self.survey.left_out.update({each["values"].as_py(): each["counts"].as_py() for each in others})
        place = batch.schema.get_field_index("negatives")
        return batch.set_column(place, batch.schema.field(place), negatives.keep(wanted).records(NEGATIVE))


class Survey:
    """Which sources rows have, and in which order."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()
        self._follows: set[tuple[int, int]] = set()

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at rows as they are in the inputs."""
        negatives = Documents.of(batch.column("negatives"))
        encoded = negatives.fields["source"].dictionary_encode()
        known = [self.numbers.setdefault(name, len(self.numbers)) for name in encoded.dictionary.to_pylist()]
        source = np.array(known, dtype=np.int64)[np.asarray(encoded.indices)]
        pairs = negatives.rows * (1 + len(self.numbers)) + source
        first = np.sort(np.unique(pairs, return_index=True)[1])
        row, source = negatives.rows[first], source[first]
        next_to = np.stack([source[:-1], source[1:]], axis=1)[row[:-1] == row[1:]]
        self._follows.update(map(tuple, np.unique(next_to, axis=0).tolist()))

    def order(self) -> tuple[str, ...]:
        """The sources in the order in which rows have them; those that no row has both, as they occur."""
        left, ordered = list(self.numbers.values()), []
        while left:
            follow = {after for before, after in self._follows if before in left}
            number = next((each for each in left if each not in follow), left[0])
            left.remove(number)
            ordered.append(number)
        names = list(self.numbers)
        return tuple(names[number] for number in ordered)
