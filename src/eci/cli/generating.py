"""What the commands of ``eci generate`` have in common: what was read, who is asked, what is told."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.chatting import ChatOptions, asker

if TYPE_CHECKING:
    from eci.chat.asking import ChatAsker
    from eci.generating.passages import Passages
    from eci.generating.queries import Queries
    from eci.generating.samples import Samples
    from eci.task import RetrievalTask
    from eci.types import Progress


@dataclass
class Context:
    """What a command has read and opened, and the options that several parts look at."""

    options: dict[str, Any]
    chat: ChatOptions
    progress: Progress
    stack: ExitStack
    read_from: tuple[Path, ...] = ()
    files: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    made: Queries | None = None

    @functools.cached_property
    def asker(self) -> ChatAsker:
        """Who is asked; a model that cannot be is told before the first call."""
        from eci.chat.endpoint import Endpoint
        from eci.types import silent

        model = self.options["model"]
        Endpoint(self.chat.of(model)).close()
        return self.stack.enter_context(asker(model, self.chat, silent))

    def task(self) -> RetrievalTask:
        """The queries and positives that the arguments name."""
        from eci.datasets import ReadOptions
        from eci.datasets.tasks import read_task

        given = {name: self.options[name] for name in ("layout", "corpus", "queries", "split")}
        self.progress("reading queries and documents", 0, 0)
        read = read_task(self.options["inputs"], ReadOptions(**given), self.options["qrels"])
        self._note(read.paths, read.files, read.notes)
        return read.task

    def passages(self) -> Passages:
        """The documents of the corpus that the arguments name, to write queries for."""
        from eci.generating.passages import Passages, read_corpus

        idle = [name for name in ("queries", "qrels", "split", "layout") if self.options.get(name)]
        if idle:
            raise click.UsageError(
                f"Queries are written for a corpus alone, so --{idle[0]} would do nothing."
            )
        given = [*self.options["inputs"], *([self.options["corpus"]] if self.options.get("corpus") else [])]
        if len(given) != 1:
            raise click.UsageError(
                "Queries are written for one corpus: a BEIR folder or a file. Give one path."
            )
        corpus, path = read_corpus(given[0])
        self.note(path)
        return Passages(corpus, self.options["limit"], self.options["seed"])

    def samples(self, task: RetrievalTask, **more: Any) -> Samples:
        """What is written for."""
        from eci.generating.samples import Samples

        limit = None if self.made is not None else self.options["limit"]
        return Samples(task, self.options["positives"], limit, self.options["seed"], **more)

    def note(self, path: Path) -> None:
        """A file that decides what is asked, beside the task."""
        from eci.datasets.identity import fingerprint

        self._note((path,), fingerprint([path]), ())

    def warn(self, told: str | None) -> None:
        """Note what to know, and tell it before anything is asked."""
        if told is not None:
            self.notes = (*self.notes, told)
            if not self.chat.dry_run:
                click.echo(f"warning: {told}", err=True)

    def refuse(self) -> None:
        """Refuse an output that cannot be written, or would replace what is read or what answers are kept in.

        Before anything is read, and again before anything is asked.
        """
        from eci.atomic import refuse_places
        from eci.datasets.writing import WRITER, refuse

        output, held = self.options["output"], (*self.read_from, *self.chat.files)
        refuse(output, self.options["target"], held, self.options.get("written_by", WRITER))
        refuse_places([output, _summary_of(output)], held)
        _refuse_summary(_summary_of(output))

    def _note(self, paths: Any, files: Any, notes: Any) -> None:
        self.read_from, self.files = (*self.read_from, *paths), (*self.files, *files)
        self.notes = (*self.notes, *notes)


@contextmanager
def kept(chat: ChatOptions) -> Iterator[None]:
    """Say what an interrupted run leaves."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"\nWhat was answered is kept in {chat.journal}: the same command again asks for the rest.",
            err=True,
        )
        raise


def tell(expected: Any, notes: Sequence[str] = ()) -> None:
    """Show the first prompts, what all would take, and what to know before."""
    noted = "".join(f"\n· {note}" for note in notes)
    click.echo(f"{expected.prompts()}\n---\n{expected.described()}{noted}")


def finish(output: Path, result: Any, asker: ChatAsker, as_json: bool) -> None:
    """Keep the summary beside the output, and tell it."""
    from eci.atomic import atomic_path

    beside = _summary_of(output)
    with atomic_path(beside) as temporary:
        temporary.write_text(result.to_json() + "\n", encoding="utf-8")
    click.echo(asker.counts.described(asker.settings), err=True)
    click.echo(result.to_json() if as_json else f"{result.table()}\n{output}; settings and counts: {beside}")


def _summary_of(output: Path) -> Path:
    return output.parent / f"{output.name}.generate.json"


def _refuse_summary(path: Path) -> None:
    """Nobody names that file, so only one of its kind is replaced."""
    from eci.errors import OutputError

    try:
        ours = json.loads(path.read_bytes())["schema"] in ("eci.generate/1", "eci.queries/1")
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise OutputError(
            f"{path}: is where settings and counts go, and eci did not write it. Move it away, or name "
            "another output."
        )
