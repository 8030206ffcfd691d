"""The command line. One file a command; this one holds the group and how it fails.

Exit codes: 0 done, 1 refused, 2 usage, 130 interrupted. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module

import click

from eci.errors import EciError

_COMMANDS = (
    "mine",
    "generate",
    "filter",
    "audit",
    "mix",
    "select",
    "score",
    "report",
    "ablate",
    "probe",
    "train",
    "evaluate",
    "validate",
    "demo",
    "convert",
    "cache",
)
# Ids and texts in messages come from data: they move no cursor and turn no line around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class _Commands(click.Group):
    """Loads the module of a command when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"eci.cli.{cmd_name}"), cmd_name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Documentation: README.md and docs/ of the project. "
    "No metric here is claimed to predict training; docs/validation.md says how well each did.",
)
@click.version_option(package_name="eci")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Know what hard negatives are worth before training a dense retriever on them."""


def run() -> None:
    """Entry point of the command ``eci``."""
    debug = "--debug" in sys.argv
    try:
        # Anywhere on the line: whoever is asked to repeat a command with it appends it.
        main.main([argument for argument in sys.argv[1:] if argument != "--debug"], standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.Abort as error:
        if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            _say("Nothing was done.", debug)
            sys.exit(1)
        _interrupted(debug)
    except KeyboardInterrupt:
        _interrupted(debug)
    except BrokenPipeError:
        # The reader of our output has gone.
        _drop_output()
        sys.exit(1)
    except EciError as error:
        _say(f"Error: {error}", debug)
        sys.exit(1)
    except OSError as error:
        _say(f"Error: {error.strerror or error}: {error.filename or 'no file named'}", debug)
        _drop_output()
        sys.exit(1)
    except MemoryError:
        _say("Error: out of memory. Try --sample, or fewer --batch-rows.", debug)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001
        _say(
            f"Error: unexpected {type(error).__name__}: {error}. This is a defect of eci: "
            "please report it with the output of the same command and --debug.",
            debug,
        )
        sys.exit(1)


def _drop_output() -> None:
    """Let go of what cannot be written: the interpreter would try again, and end with another code."""
    if sys.stdout is None:  # closed by who started this process
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(debug: bool) -> None:
    _say(
        "Interrupted. Nothing half-done was left; finished vectors, candidates, decisions, cells are kept.",
        debug,
    )
    sys.exit(130)


def _say(message: str, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    click.echo(_CONTROLS.sub(_escaped, message), err=True)


def _escaped(found: re.Match[str]) -> str:
    """A character that a terminal would obey, as Python writes it."""
    return found[0].encode("unicode_escape").decode()
