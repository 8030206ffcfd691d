"""The options that commands share which ask a chat model."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chat_server import ChatServer, answer_to
from eci.chat.counting import estimate
from eci.chat.messages import ChatRequest
from eci.chat.settings import OPENAI, ChatSettings
from eci.cli.chatting import ChatOptions, asker, chat_options
from eci.errors import OutputError
from eci.types import silent

SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
REQUESTS = [
    ChatRequest(f"row {number}", (("user", f"question {number}"),), SCHEMA, "sum") for number in range(3)
]


@click.command()
@chat_options
def command(chat: ChatOptions) -> None:
    click.echo(estimate(REQUESTS, chat.of("m"), chat.journal).described())
    if not chat.dry_run:
        with asker("m", chat, silent) as opened:
            for reply in opened.ask(REQUESTS):
                click.echo(f"{reply.request.key} {reply.value}")
            click.echo(opened.counts.described(opened.settings))


def run(*arguments):
    return CliRunner().invoke(command, arguments)


@pytest.fixture
def given(monkeypatch):
    """The settings that a command gets for its options."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    def settings(*arguments):
        found = []

        @click.command()
        @chat_options
        def show(chat):
            found.append(chat)

        done = CliRunner().invoke(show, arguments)
        assert done.exit_code == 0, done.output
        return found[0]

    return settings


def test_without_options_the_settings_are_their_own_defaults(given):
    chat = given()
    assert chat.of("m") == ChatSettings("m", OPENAI)
    assert (chat.journal, chat.dry_run) == (Path("eci.answers.sqlite"), False)


def test_every_option_reaches_the_settings(given, monkeypatch):
    chat = given(
        *(
            "--base-url",
            "http://h/v1",
            "--key-env",
            "K",
            "--chat-temperature",
            "1",
            "--max-tokens",
            "9",
            "--rpm",
            "5",
        ),
        *("--concurrency", "3", "--tpm", "6", "--timeout", "7", "--price", "0.5,2", "--retry-failed"),
        *("--journal", "j", "--dry-run"),
    )
    assert chat.of("m") == ChatSettings(
        *("m", "http://h/v1", "K", 1.0, 9),
        concurrency=3,
        rpm=5,
        tpm=6,
        timeout=7,
        price=(0.5, 2.0),
        retry_failed=True,
    )
    assert (chat.journal, chat.dry_run) == (Path("j"), True)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    assert given().of("m").base_url == "http://elsewhere/v1"


def test_a_model_may_take_no_temperature(given):
    assert given("--chat-temperature", "none").of("m").temperature is None
    assert given("--chat-temperature", "0.5").of("m").temperature == 0.5
    for wrong in ("3", "warm"):
        assert "--chat-temperature" in run("--chat-temperature", wrong, "--dry-run").output


def test_a_dry_run_sees_what_the_run_would_stumble_over(tmp_path):
    missing = run("--journal", str(tmp_path / "none" / "j.sqlite"), "--dry-run")
    assert isinstance(missing.exception, OutputError)
    (tmp_path / "empty.sqlite").touch()
    done = run("--journal", str(tmp_path / "empty.sqlite"), "--dry-run")
    assert (done.exit_code, (tmp_path / "empty.sqlite").stat().st_size) == (0, 0)
    assert "3 calls" in done.output


@pytest.mark.parametrize("price", ["3", "1,2,3", "a,b", ""])
def test_a_price_is_two_numbers(price):
    done = run("--price", price)
    assert done.exit_code == 2
    assert "--price takes IN,OUT, two numbers" in done.output


@pytest.mark.extra("chat")
def test_a_dry_run_asks_nothing_and_the_next_asks_what_it_said(tmp_path):
    journal = tmp_path / "kept.sqlite"
    with ChatServer() as server:
        arguments = ("--base-url", server.url, "--journal", str(journal), "--price", "1,1")
        dry = run(*arguments, "--dry-run")
        assert (dry.exit_code, server.asked.total(), list(tmp_path.iterdir())) == (0, 0, [])
        assert "3 calls" in dry.output
        first, second = run(*arguments), run(*arguments)
        assert server.asked.total() == 3
    for done in (first, second):
        assert done.exit_code == 0, done.output
        assert {f"row {n} {{'number': {answer_to(f'question {n}')['number']}}}" for n in range(3)} <= set(
            done.output.splitlines()
        )
        assert f"answers are kept in {journal}" in done.stderr
    assert "3 answered, 0 known from earlier" in first.output
    assert "0 answered, 3 known from earlier" in second.output
    assert [path.name for path in tmp_path.iterdir()] == ["kept.sqlite"]
