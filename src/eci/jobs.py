"""Rows that were read, to be scored by one encoder or several."""

from __future__ import annotations

import gc
import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eci import scoring
from eci.ablation import Ablation, AblationSettings, Remembering
from eci.datasets import ReadOptions, from_object, read
from eci.datasets.collection import document_texts_of
from eci.datasets.identity import fingerprint
from eci.datasets.scanning import portions
from eci.distributed import RayEngine
from eci.errors import DataError, EncoderError
from eci.examples import CHOICES
from eci.models.cache import default_folder
from eci.models.loading import prepared_encoder
from eci.models.sentence_transformer import ModelOptions
from eci.passing import Engine
from eci.portions import Portions
from eci.probed import ProbeResult
from eci.results import ScoreResult
from eci.resuming import Checkpoint, identity_of
from eci.sending import Loading
from eci.settings import Corpora, Settings
from eci.types import Encoder, Progress, silent


@contextmanager
def job(
    rows: Any,
    seed: int,
    reading: ReadOptions | None,
    loading: ModelOptions | None,
    cache: bool | str | Path,
    progress: Progress,
    beyond: bool = True,
) -> Iterator[Job]:
    """Read rows for encoders.

    Parameters
    ----------
    rows, reading, loading, cache, progress
        As in `eci.score`.
    seed : int
        Of the draw of the queries in memory, where rows have more.
    beyond : bool
        Whether the others pass by; else they are left out.

    Yields
    ------
    Job
        To be used within the block.
    """
    reading = reading or ReadOptions()
    read_rows = rows_of(rows, reading)
    progress("reading rows", 0, 0)
    with portions(read_rows, seed, corpus=read_rows.corpus, progress=progress) as found:
        queries = found
        if not queries.sources and read_rows.notes:
            raise DataError(f"No row has a negative. The reader noted: {'; '.join(read_rows.notes)}.")
        origin: dict[str, Any] = {
            "layout": read_rows.layout,
            "files": read_rows.fingerprint(),
            "notes": list(read_rows.notes),
        }
        # Read before they are digested: what is no corpus may be a folder of anything.
        corpora = Corpora(
            document_texts_of(reading.candidates) if reading.candidates else (),
            document_texts_of(reading.idf_corpus) if reading.idf_corpus else None,
        )
        read_beside = [path for path in (reading.candidates, reading.idf_corpus) if path is not None]
        if read_beside:
            origin["corpora"] = fingerprint(read_beside)
        if queries.pieces is not None and not beyond:
            size = len(queries.held.queries)
            origin["notes"].append(
                f"of {len(queries):,} queries {size:,} drawn at random are held in memory; everything is of "
                "these"
            )
            queries = Portions.of(queries.held, seed)
        yield Job(queries, corpora, reading, loading, cache, progress, origin)


@dataclass(frozen=True)
class Job:
    """Rows that were read, and how encoders are to be loaded for them."""

    queries: Portions
    corpora: Corpora
    reading: ReadOptions
    loading: ModelOptions | None
    cache: bool | str | Path
    progress: Progress
    origin: dict[str, Any]

    def scored(
        self, encoder: str | Encoder, settings: Settings, before: dict[str, ScoreResult] | None = None
    ) -> ScoreResult:
        """The result of an encoder, which is another than those of the results `before`."""
        # What the model before left in cycles would else stay beside this one.
        gc.collect()
        with prepared_encoder(encoder, self.loading, self.cache, self.progress) as ready:
            for other, result in (before or {}).items():
                if _same_model(getattr(ready, "describe", dict)(), result.encoder):
                    raise EncoderError(f"it is the same model as {other}. Name each encoder once.")
            engine = None
            if settings.ray is not None and self.queries.pieces is not None:
                sent = Loading.of(encoder, self.loading, self.cache)
                engine = RayEngine(self.queries, ready, sent, settings, self.progress)
            found = self.result(ready, settings, self.progress, engine)
        if settings.ray is not None and engine is None:
            found.data["notes"].append("all queries are held in memory: nothing was left for Ray")
        return found

    def ablated(self, label: str, encoder: str | Encoder, options: AblationSettings) -> Ablation:
        """Every run of an ablation that one encoder makes."""
        used, size = options.scoring, options.fixed_n
        others = [tau for tau in dict.fromkeys(options.temperatures) if tau != used.temperature]
        runs: list[tuple[str, str, Settings]] = [
            ("base", "", used),
            *(("fixed_n", by, replace(used, fixed_n=size, fixed_n_by=by)) for by in CHOICES),
            *(("temperatures", str(tau), replace(used, temperature=tau)) for tau in others),
        ]
        found: dict[str, dict[str, ScoreResult]] = {"base": {}, "fixed_n": {}, "temperatures": {}}
        with prepared_encoder(encoder, self.loading, self.cache, self.progress) as ready:
            kept = Remembering(ready)
            for done, (kind, name, settings) in enumerate(runs):
                self.progress("runs", done, len(runs))
                found[kind][name] = self.result(kept, settings, silent)
            self.progress("runs", len(runs), len(runs))
        varied = {"fixed_n": size, "temperatures": list(options.temperatures)}
        return Ablation({label: found["base"][""]}, found["fixed_n"], found["temperatures"], settings=varied)

    def result(
        self, encoder: Encoder, settings: Settings, progress: Progress, engine: Engine | None = None
    ) -> ScoreResult:
        """The result with everything that is needed to obtain it again."""
        checkpoint = self._checkpoint(encoder, settings)
        found = scoring.score(self.queries, encoder, settings, progress, self.corpora, checkpoint, engine)
        self.tell(found)
        checkpoint.done()
        return found

    def _checkpoint(self, encoder: Encoder, settings: Settings) -> Checkpoint:
        """What is kept of queries beyond memory, by everything that decides their figures."""
        told: dict[str, Any] = {
            "files": [self.origin[name] for name in ("files", "corpora") if name in self.origin],
            # Where they are scored decides nothing.
            "settings": asdict(replace(settings, ray=None)),
            "reading": {key: str(value) for key, value in asdict(self.reading).items()},
            "encoder": identity_of(encoder),
            "versions": versions(),
        }
        key = hashlib.blake2b(
            json.dumps(told, sort_keys=True, default=str).encode(), digest_size=16
        ).hexdigest()
        known = bool(self.origin["files"]) and told["encoder"] is not None
        if self.queries.pieces is None or not known or self.cache is False:
            return Checkpoint(None, key)
        folder = default_folder() if self.cache is True else Path(self.cache)
        folder.mkdir(parents=True, exist_ok=True)
        return Checkpoint(folder / f"scored-{key}.json", key)

    def tell(self, found: ScoreResult | ProbeResult) -> None:
        """Add to a result where its rows came from, and what they were read and the model loaded with."""
        found.settings["reading"] = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self.reading).items()
        }
        found.settings["loading"] = asdict(self.loading or ModelOptions())
        found.data.update(self.origin, notes=[*self.origin["notes"], *found.data.get("notes", ())])
        found.settings["versions"] = versions()


def versions() -> dict[str, str]:
    """Of Python, eci and what decides its figures."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("eci", "numpy", "pyarrow")},
    }


def rows_of(rows: Any, options: ReadOptions) -> Any:
    """Rows of files, or of what `score` takes."""
    if isinstance(rows, str | Path):
        return read([rows], options)
    if isinstance(rows, Sequence) and rows and all(isinstance(entry, str | Path) for entry in rows):
        return read(rows, options)
    return from_object(rows, options)


def _same_model(described: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two descriptions, of which the second is that of a result, are of one model loaded twice."""
    told = {key: value for key, value in described.items() if key not in ("name", "versions")}
    return "weights_blake2b" in told and all(other.get(key) == value for key, value in told.items())
