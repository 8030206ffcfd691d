"""Options of commands that ask a chat model, and what they give."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eci.cli.options import Count

if TYPE_CHECKING:
    from eci.chat.asking import ChatAsker
    from eci.chat.settings import ChatSettings
    from eci.types import Progress


@dataclass(frozen=True)
class ChatOptions:
    """What was given on the command line, all but the model.

    Parameters
    ----------
    settings : dict
        Of `eci.chat.settings.ChatSettings`.
    journal : Path
    dry_run : bool
    """

    settings: dict[str, Any]
    journal: Path
    dry_run: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """The journal and what lies beside it, which no output may replace."""
        from eci.chat.journal import files_of

        return files_of(self.journal)

    def of(self, model: str) -> ChatSettings:
        """The settings for a model."""
        from eci.chat.settings import ChatSettings

        return ChatSettings(model, **self.settings)


def chat_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for chat models; the command gets them as ``chat``, a `ChatOptions`."""

    @functools.wraps(command)
    def with_chat(*args: Any, journal: Path, dry_run: bool, price: str | None, **options: Any) -> Any:
        settings = {name: options.pop(name) for name in _SETTINGS}
        settings |= {"temperature": options.pop("chat_temperature"), "price": price_of(price)}
        chat = ChatOptions(settings, journal, dry_run)
        return command(*args, chat=chat, **options)

    wrapped: Callable[..., Any] = with_chat
    for option in reversed(_CHAT):
        wrapped = option(wrapped)
    return wrapped


@contextmanager
def asker(model: str, chat: ChatOptions, progress: Progress) -> Iterator[ChatAsker]:
    """What asks a model and keeps its answers; stderr is told where they are kept.

    Parameters
    ----------
    model : str
    chat : ChatOptions
    progress : Progress
    """
    from eci.chat.asking import ChatAsker
    from eci.chat.journal import Journal
    from eci.chat.submitted import Ledger

    settings = chat.of(model)
    journal = Journal(chat.journal)
    try:
        click.echo(f"answers are kept in {chat.journal}", err=True)
        # A batch takes hours, and tells seldom: where nothing else is shown, that is.
        opened = ChatAsker(settings, journal, progress=events if settings.batch else progress)
        under_way = Ledger(journal, settings.base_url).waiting
        if not settings.batch:
            _tell_batches(under_way(), "without --batch they are asked, and paid for, again")
        try:
            yield opened
        except KeyboardInterrupt:
            if settings.batch:
                _tell_batches(under_way(), "it goes on there, and the same command again waits for it")
            raise
        finally:
            opened.close()
    finally:
        journal.close()


def _tell_batches(waiting: dict[str, int], what: str) -> None:
    for batch, requests in waiting.items():
        click.echo(
            f"\nbatch {batch} has {requests:,} requests whose answers are not here yet: {what}", err=True
        )


def events(stage: str, done: int, total: int, /) -> None:
    """Progress that tells on stderr what happens on the way, for a command that counts for itself."""
    if not done and not total:
        # A line that counts may stand there, unfinished.
        click.echo(f"\r\x1b[K{stage}" if sys.stderr.isatty() else stage, err=True)


class _Temperature(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on
    """A number from 0 to 2, or none for models that take none."""

    name = "0..2|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == "none" else click.FloatRange(0, 2).convert(value, param, ctx)


def price_of(text: str | None) -> tuple[float, float] | None:
    """The two prices of ``--price``, or None."""
    if text is None:
        return None
    try:
        prompts, answers = (float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--price takes IN,OUT, two numbers, got {text!r}.") from None
    return prompts, answers


def given_options(*names: str) -> tuple[str, ...]:
    """Which of these options stand on the command line, as users write them."""
    context, there = click.get_current_context(), click.core.ParameterSource.COMMANDLINE
    given = (name for name in names if context.get_parameter_source(name) is there)
    return tuple(f"--{name.replace('_', '-')}" for name in given)


_SETTINGS = (
    "base_url",
    "key_env",
    "max_tokens",
    "concurrency",
    "rpm",
    "tpm",
    "timeout",
    "retry_failed",
    "batch",
)
NAMES = (*_SETTINGS, "chat_temperature", "price", "journal", "dry_run")
_CHAT = (
    click.option(
        "--base-url",
        default="https://api.openai.com/v1",
        show_default=True,
        envvar="OPENAI_BASE_URL",
        metavar="URL",
        help="OpenAI-compatible endpoint: of OpenAI, vLLM, Ollama, llama.cpp …  [env: OPENAI_BASE_URL]",
    ),
    click.option(
        "--key-env",
        default="OPENAI_API_KEY",
        show_default=True,
        metavar="NAME",
        help="Environment variable that holds the key; most local endpoints need none.",
    ),
    click.option(
        "--chat-temperature",
        type=_Temperature(),
        default=0.0,
        show_default=True,
        help="Of the answers, or 'none' for models that take none or their own alone.",
    ),
    click.option(
        "--max-tokens",
        type=Count(1),
        default=2048,
        show_default=True,
        help="Most tokens of an answer.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1000),
        default=8,
        show_default=True,
        help="Requests under way at a time.",
    ),
    click.option("--rpm", type=Count(1), metavar="N", help="Most requests a minute."),
    click.option("--tpm", type=Count(1), metavar="N", help="Most tokens a minute."),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="Silence after which a request is given up and sent again.",
    ),
    click.option(
        "--price",
        metavar="IN,OUT",
        help="Price of a million tokens of prompts and of answers: costs are then told.",
    ),
    click.option(
        "--journal",
        type=click.Path(dir_okay=False, path_type=Path),
        default="eci.answers.sqlite",
        show_default=True,
        metavar="FILE",
        help="Where answers are kept; what is in it is not asked or paid for again.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help="Ask again what an earlier run got no usable answer for; with --batch also what was in a batch "
        "that is gone.",
    ),
    click.option(
        "--batch",
        is_flag=True,
        help="Ask by OpenAI's Batch API, within 24 hours and mostly at half the price; --price takes what "
        "you pay there.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Show the first prompts and what all would take, and ask nothing."
    ),
)
