"""A collection of an experiment with its sources: what is trained on, held out, and tested on."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eci.datasets import ReadOptions, beir, read
from eci.datasets.trec import read_qrels
from eci.directions import drawn_order
from eci.errors import DataError
from eci.examples import Examples
from eci.ragged import Ragged
from eci.types import Flags, Progress
from eci.validation.experiment import CollectionPlan, Experiment, expanded
from eci.validation.judged import JudgedCollection
from eci.validation.sources import sources_made


class Prepared:
    """One collection of an experiment with the rows of its sources.

    Parameters
    ----------
    experiment : Experiment
    plan : CollectionPlan
    folder : Path
        Where the sources are made, or lie already.
    progress : Progress
    """

    def __init__(
        self, experiment: Experiment, plan: CollectionPlan, folder: Path, progress: Progress
    ) -> None:
        self.experiment, self.plan = experiment, plan
        self.sources = sources_made(experiment.sources, plan, folder, progress)

    @cached_property
    def _files(self) -> beir.BeirFiles:
        return beir.find(expanded(self.plan.path), (), self.plan.split, None, None)

    @property
    def corpus(self) -> Path:
        """The file of its documents."""
        return self._files.corpus

    @cached_property
    def examples(self) -> Examples:
        """The rows of all sources.

        Raises
        ------
        DataError
            A row is of no query that is trained on.
        """
        paths = [path for path, _ in self.sources.values()]
        found = Examples.from_batches(read(paths, ReadOptions()))
        qrels = self._files.qrels
        strange = sorted(set(found.labels).difference(read_qrels(qrels)["query"].to_pylist()))
        if strange:
            raise DataError(
                f"{self.plan.name}: {len(strange):,} queries of the sources are not in {qrels}, first "
                f"'{strange[0]}'. Give rows of your own the query_id of the collection, and those of its "
                f"{self.plan.split} split alone."
            )
        return found

    @cached_property
    def used(self) -> Flags:
        """Queries that are trained on, of shape (Q,)."""
        size = len(self.examples.queries)
        found = np.zeros(size, dtype=np.bool_)
        found[drawn_order(self.examples.keys, 0)[: self.plan.queries or size]] = True
        return found

    @cached_property
    def held_out(self) -> Flags:
        """Queries that tuning holds out, of shape (Q,)."""
        share = self.experiment.tuning.dev if self.experiment.tuning else 0.0
        order = [query for query in drawn_order(self.examples.keys, 0).tolist() if self.used[query]]
        found = np.zeros(len(self.used), dtype=np.bool_)
        found[order[: math.ceil(share * len(order))]] = True
        return found

    @cached_property
    def stopping(self) -> Flags:
        """Queries that early stopping holds out, of shape (Q,); those of the tuning are not among them."""
        found = self.experiment.stopping
        if found is None:
            return np.zeros(len(self.used), dtype=np.bool_)
        return found.held_out(self.examples, self.used & ~self.held_out)

    @cached_property
    def judged(self) -> dict[str, JudgedCollection]:
        """The test sets by name."""
        found: dict[str, JudgedCollection] = {}
        for plan in self.plan.tests:
            test = JudgedCollection.read(expanded(plan.path), plan.split)
            if test.name in found:
                raise DataError(f"{self.plan.name}: evaluated twice on {test.name}. Name each test set once.")
            found[test.name] = test
        return found

    @cached_property
    def dev(self) -> JudgedCollection:
        """The queries that tuning holds out, judged."""
        whole = JudgedCollection.read(expanded(self.plan.path), self.plan.split)
        return whole.only([self.examples.labels[query] for query in np.flatnonzero(self.held_out).tolist()])

    def unseen(self, test: str) -> Flags:
        """Test queries none of whose relevant documents is a positive of a query that is trained on.

        By the text of the documents; of shape (n,), in the order of the judgements.
        """
        judged = self.judged[test]
        trained = self.examples.positives.take(np.flatnonzero(self.used)).values
        known = {self.examples.documents[place] for place in np.unique(trained).tolist()}
        relevant = [[name for name, grade in grades.items() if grade > 0] for grades in judged.qrels.values()]
        asked = pa.array([name for names in relevant for name in names], pa.large_string())
        places = pc.index_in(asked, judged.documents.ids).fill_null(-1).to_numpy(zero_copy_only=False)
        texts = judged.documents.shown(np.maximum(places, 0))
        seen = np.array([text in known for text in texts]) & (places >= 0)
        lengths = np.array([len(names) for names in relevant], dtype=np.int64)
        return np.asarray(Ragged.from_lengths(seen.astype(np.int64), lengths).sums() == 0)
