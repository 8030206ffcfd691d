"""Options of commands that ask a chat model, and what they give."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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

    def of(self, model: str) -> ChatSettings:
        """The settings for a model."""
        from eci.chat.settings import ChatSettings

        return ChatSettings(model, **self.settings)


def chat_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for chat models; the command gets them as ``chat``, a `ChatOptions`."""

    @functools.wraps(command)
    def with_chat(*args: Any, journal: Path, dry_run: bool, price: str | None, **options: Any) -> Any:
        settings = {name: options.pop(name) for name in _SETTINGS}
        settings |= {"temperature": options.pop("chat_temperature"), "price": _price(price)}
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

    settings = chat.of(model)
    # A claim is renewed before every attempt; more than one attempt and the wait after it is a dead one.
    journal = Journal(chat.journal, stale_after=4 * settings.timeout + 240)
    try:
        click.echo(f"answers are kept in {chat.journal}", err=True)
        opened = ChatAsker(settings, journal, progress=progress)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        journal.close()


def _price(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        prompts, answers = (float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--price takes IN,OUT, two numbers, got {text!r}.") from None
    return prompts, answers


_SETTINGS = ("base_url", "key_env", "max_tokens", "concurrency", "rpm", "tpm", "timeout", "retry_failed")
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
        type=click.FloatRange(0, 2),
        default=0.0,
        show_default=True,
        help="Of the answers; some models take 1 alone.",
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(1),
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
    click.option("--rpm", type=click.IntRange(1), metavar="N", help="Most requests a minute."),
    click.option("--tpm", type=click.IntRange(1), metavar="N", help="Most tokens a minute."),
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
        "--retry-failed", is_flag=True, help="Ask again what an earlier run got no usable answer for."
    ),
    click.option(
        "--dry-run", is_flag=True, help="Show the first prompts and what all would take, and ask nothing."
    ),
)
