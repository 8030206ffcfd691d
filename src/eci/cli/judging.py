"""Options of a judge, and what they give."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from eci.cli.chatting import NAMES, ChatOptions, chat_options, given_options
from eci.cli.options import Count

if TYPE_CHECKING:
    from eci.audit.judging import Judge


@dataclass(frozen=True)
class JudgeOptions:
    """What was given on the command line.

    Parameters
    ----------
    model : str, optional
        Nobody is asked without one.
    by : str
    limit : int, optional
    every : bool
    chat : ChatOptions
    """

    model: str | None
    by: str
    limit: int | None
    every: bool
    chat: ChatOptions

    @property
    def dry_run(self) -> bool:
        """Whether it is only told what would be asked."""
        return self.chat.dry_run

    @contextmanager
    def opened(self) -> Iterator[Judge | None]:
        """Who is asked; where the model cannot be, that is told before the work."""
        from eci.atomic import require_folder
        from eci.audit.judging import Judge
        from eci.chat.endpoint import Endpoint
        from eci.cli.chatting import asker, events

        if self.model is None:
            yield None
            return
        settings, how = self.chat.of(self.model), (self.by, self.limit, self.every, self.chat.journal)
        if self.dry_run:
            require_folder(self.chat.journal)
            yield Judge(None, settings, *how)
            return
        Endpoint(settings).close()
        with asker(self.model, self.chat, events) as opened:
            yield Judge(opened, settings, *how)


def judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a judge; the command gets them as ``judge``, `JudgeOptions`."""

    @functools.wraps(command)
    def with_judge(
        *args: Any,
        judge: str | None,
        judge_by: str,
        judge_limit: int | None,
        judge_all: bool,
        chat: ChatOptions,
        **options: Any,
    ) -> Any:
        alone = given_options("judge_by", "judge_limit", "judge_all", *NAMES) if judge is None else ()
        if alone:
            raise click.UsageError(
                f"{', '.join(alone)}: nobody is asked without a judge, give --judge MODEL."
            )
        options["judge"] = JudgeOptions(judge, judge_by, judge_limit, judge_all, chat)
        return command(*args, **options)

    wrapped: Callable[..., Any] = chat_options(with_judge)
    for option in reversed(_JUDGE):
        wrapped = option(wrapped)
    return wrapped


_JUDGE = (
    click.option(
        "--judge",
        metavar="MODEL",
        help="Ask this chat model whether the likely false negatives are answers.",
    ),
    click.option(
        "--judge-by",
        type=click.Choice(["rlhn", "arhn"]),
        default="rlhn",
        show_default=True,
        help="rlhn: does it answer as well as what is labelled (up to 25 of a query in one call); arhn: does "
        "a part of it answer (a call each), as well or not.",
    ),
    click.option(
        "--judge-limit", type=Count(1), metavar="N", help="Ask about the N most severe pairs alone."
    ),
    click.option(
        "--judge-all",
        is_flag=True,
        help="Ask about every negative, not about the likely false ones alone: for what a model wrote.",
    ),
)
