"""Progress on stderr: a line that rewrites itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

import click

_TERMINAL_PAUSE = 0.1
_LOG_PAUSE = 15.0


class StderrProgress:
    """Shows stages as they go; satisfies ``eci.types.Progress``. At its end no unfinished line is left."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._began = self._shown = 0.0
        self._before = 0
        self._open = False

    def __enter__(self) -> StderrProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._open = False

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """`done` of `total` units of `stage` are finished; total 0 where nobody knows."""
        now = time.monotonic()
        begins, ends = stage != self._stage, 0 < total <= done
        if begins:
            # What an earlier run left does not tell how fast this one is.
            self._stage, self._began, self._before = stage, now, done
            if done and not total:
                self._shown = now
        pause = _TERMINAL_PAUSE if self._terminal else _LOG_PAUSE
        if (not begins or (done and not total)) and not ends and now - self._shown < pause:
            return
        self._shown = now
        text = self._text(stage, done, total, now - self._began)
        if self._terminal:
            self._open = not ends and bool(total or done)
            click.echo(f"\r\x1b[K{text}", err=True, nl=not self._open)
        else:
            click.echo(text, err=True)

    def _text(self, stage: str, done: int, total: int, seconds: float) -> str:
        if not total:
            return f"{done:,} {stage}" if done else f"{stage} …"
        text = f"{stage}: {done:,} of {total:,}"
        if self._before < done < total and seconds > 1:
            text += f", {seconds * (total - done) / (done - self._before):,.0f} s left"
        return text
