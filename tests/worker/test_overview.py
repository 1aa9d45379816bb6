"""What is shown of providers and credentials, and when the sandbox is needed."""

from __future__ import annotations

import asyncio
import io

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from rich.console import Console

from producer.script import Argument, Script
from tests.support.servers import RedisServer
from worker.candidate import Candidate
from worker.config import Config
from worker.leases.leases import Grant, Leases
from worker.leases.limits import CredentialLimits, ProviderLimits
from worker.leases.survey import Breaker, Budget, Cooling, CredentialState, LastError
from worker.leases.values import Asker
from worker.outcomes import Mark
from worker.overview import (
    Broken,
    Overview,
    Standing,
    Waiting,
    chosen,
    cooling_text,
    duration,
    needs_sandbox,
    overview,
    overview_tables,
)

GROUP = '{"chat": ["ollama/a", "groq/b"]}'


@pytest.mark.parametrize(
    ("environ", "names", "sandbox"),
    [
        ({}, [], True),
        ({"OPENAI_API_KEY": "k"}, ["openai"], False),
        ({"MODEL_FALLBACK_GROUPS": GROUP}, ["groq", "ollama"], False),
        ({"VLLM_API_BASE": "http://127.0.0.1:8000/v1"}, ["vllm"], False),
        ({"SANDBOX_API_KEY": "k"}, ["sandbox"], True),
        ({"SANDBOX_API_BASE": "http://127.0.0.1:9200/v1"}, ["sandbox"], False),
        ({"MODEL_FALLBACK_GROUPS": '{"chat": ["sandbox/429", "sandbox/echo"]}'}, ["sandbox"], True),
    ],
)
def test_providers_are_chosen_by_a_key_a_group_or_an_address(
    environ: dict[str, str], names: list[str], sandbox: bool
) -> None:
    config = Config.load({"UNDERSTUDY_CONFIG": "/dev/null", **environ})

    assert chosen(config) == names
    assert needs_sandbox(config) is sandbox


@pytest.mark.parametrize(
    ("left_ms", "text"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (27_400, "28 s"),
        (60_000, "1 min"),
        (250_000, "4 min 10 s"),
        (3_600_000, "1 h"),
        (5 * 3_600_000 + 42 * 60_000 + 5_000, "5 h 42 min"),
        (86_400_000 + 5_000, "1 d"),
    ],
)
def test_durations(left_ms: int, text: str) -> None:
    assert duration(left_ms) == text


def test_a_cooldown_says_for_what_and_why() -> None:
    assert cooling_text(Cooling("gpt", Mark.COOL, 0, 27_400)) == "28 s for gpt (rate limit)"
    assert cooling_text(Cooling(None, Mark.LOCK_OUT, 0, 60_000)) == "1 min for every model (rejected)"


def test_names_are_no_markup() -> None:
    [line] = lines(Overview((Standing("[red]", CredentialState("[/]", 1, 0)),), (), ()))[1:]

    assert line.split("  ")[0] == "[red]"
    assert "[/]" in line
    assert "not configured" in line


def test_what_a_credential_has_left_and_how_it_last_failed() -> None:
    state = CredentialState(
        "k", 1, 4, (), Budget(100, 37), Budget(9000, 0), LastError("rate_limited", "gpt", ago_ms=61_000)
    )
    [line] = lines(Overview((Standing("openai", state),), (), ()))[1:]

    assert line.split() == [
        "openai",
        "k",
        "1",
        "4",
        "37",
        "of",
        "100",
        "0",
        "of",
        "9000",
        "-",
        "rate_limited",
        "at",
        "gpt,",
        "1",
        "min",
        "1",
        "s",
        "ago",
    ]


def test_breakers_and_those_who_wait() -> None:
    broken = (Broken("p", Breaker("gpt", 3_000)), Broken("p", Breaker("o3", 0)))
    shown = lines(Overview((), broken, (Waiting("p", 2, 40),)))

    assert [line.split() for line in shown[1:]] == [
        ["breaker", "state"],
        ["p/gpt", "open,", "3", "s"],
        ["p/o3", "half", "open"],
        ["waiting", "for", "in", "place", "parked"],
        ["p", "2", "40"],
    ]


def lines(seen: Overview) -> list[str]:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(overview_tables(seen))
    return captured.get().splitlines()


def test_standings_are_of_what_is_chosen_and_of_what_is_in_use(redis: Redis, redis_server: RedisServer) -> None:
    config = Config.load({"UNDERSTUDY_CONFIG": "/dev/null", "OPENAI_API_KEY": "k"})

    async def lease() -> None:
        async with AsyncRedis.from_url(redis_server.url) as client:

            async def call(script: Script, keys: list[str], args: list[Argument]) -> object:
                return await client.eval(script.text, len(keys), *keys, *args)

            limits = {"ollama": ProviderLimits((CredentialLimits("none", max_concurrency=2),))}
            leases = Leases(call, config.settings.keys, limits)
            assert isinstance(await leases.acquire(Candidate("ollama", "a"), "1", Asker("job", "me")), Grant)

    before = overview(config, redis).credentials
    asyncio.run(lease())
    after = overview(config, redis).credentials

    openai = Standing("openai", CredentialState("openai_api_key", 0, None))
    assert before == (openai,)
    assert after == (openai, Standing("ollama", CredentialState("none", 1, 2)))
