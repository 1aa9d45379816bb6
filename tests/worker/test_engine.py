"""The process's engine, in this process: it runs jobs for threads that wait, keeps them, and hands them back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from producer import attach
from producer.client import Client
from producer.journal.journal import create
from producer.lifecycle import State
from producer.request import CompletionRequest
from producer.tasks import new_job
from tests.support.journal import JOB, KEYS, Desk
from tests.support.servers import RedisServer, Sandbox, until
from worker.config import Config
from worker.ending import Ended, LetGo, Verdict
from worker.engine import Engine

Start = Callable[..., "Host"]


class Host:
    """An engine, and threads that wait for its jobs as those of Celery's pool do."""

    def __init__(self, client: Client, config: Config) -> None:
        self.rung: list[str] = []
        self._client = client
        self.engine = Engine(config, lambda job_id, _: self.rung.append(job_id), lambda _: False)
        self.engine.start()
        self.threads = ThreadPoolExecutor(64)

    def run(self, model: str, *, deadline_s: float = 30, stream: bool = True) -> tuple[str, Future[Verdict]]:
        job_id = self.journal(model, deadline_s=deadline_s, stream=stream)
        return job_id, self.threads.submit(self.engine.run, job_id)

    def journal(self, model: str, *, deadline_s: float = 30, stream: bool = True) -> str:
        request = CompletionRequest.checked(
            model=f"sandbox/{model}",
            messages=[{"role": "user", "content": "Hi"}],
            stream=stream,
            deadline_s=deadline_s,
        )
        job = new_job(self._client, request, None, 0)
        create(self._client.redis, KEYS, job)
        return job.id

    def close(self) -> None:
        self.engine.drain(at_once=True)
        self.threads.shutdown()
        self.engine.stop()


@pytest.fixture
def start(client: Client, sandbox: Sandbox, redis_server: RedisServer) -> Iterator[Start]:
    hosts: list[Host] = []

    def host(**environ: str) -> Host:
        base = {"REDIS_URL": redis_server.url, "SANDBOX_API_BASE": sandbox.url, "SANDBOX_API_KEY": "key-1"}
        hosts.append(Host(client, Config.load({**base, **environ})))
        return hosts[-1]

    yield host
    for each in hosts:
        each.close()


def state(client: Client, job_id: str) -> str:
    return str(client.redis.hget(KEYS.record(job_id), "state"))


def test_a_job_is_run_to_its_end_while_its_thread_waits(start: Start) -> None:
    job_id, ran = start().run("answer?chunks=3")
    verdict = ran.result(20)
    assert isinstance(verdict, Ended)
    assert (verdict.state, verdict.result["text"]) == (State.COMPLETED, "word-0 word-1 word-2 ")
    assert attach(job_id).get(timeout=5).text == verdict.result["text"]


def test_jobs_run_side_by_side_on_few_connections(start: Start, sandbox: Sandbox, client: Client) -> None:
    host = start()
    before = client.redis.info("clients")["connected_clients"]
    jobs = [host.run("answer?chunks=20&every_ms=50") for _ in range(50)]
    until(lambda: sandbox.log()["keys"].get("key-1", {}).get("in_flight") == 50)
    assert client.redis.info("clients")["connected_clients"] - before <= 3
    for _, ran in jobs:
        verdict = ran.result(20)
        assert isinstance(verdict, Ended)
        assert verdict.state is State.COMPLETED


def test_J6_a_job_that_another_engine_runs_is_let_go(start: Start, sandbox: Sandbox) -> None:
    first, second = start(), start()
    job_id, ran = first.run("answer?chunks=10&every_ms=50")
    until(lambda: sandbox.calls())
    assert second.engine.run(job_id) == LetGo("owned")
    assert isinstance(ran.result(20), Ended)
    assert second.engine.run(job_id) == LetGo("ended")


def test_J12_a_cancel_reaches_a_job_between_two_heartbeats(start: Start, sandbox: Sandbox, client: Client) -> None:
    job_id, ran = start().run("silence")
    until(lambda: sandbox.calls())
    assert attach(job_id).cancel() is True
    verdict = ran.result(1)
    assert isinstance(verdict, Ended)
    assert verdict.state is State.CANCELLED
    assert state(client, job_id) == "cancelled"


def test_J8_a_drain_hands_back_what_has_not_ended(start: Start, sandbox: Sandbox, client: Client) -> None:
    host = start()
    job_id, ran = host.run("answer?chunks=500&every_ms=50")
    until(lambda: state(client, job_id) == "streaming")
    host.engine.drain(at_once=True)
    assert ran.result(5) == LetGo("handed_back", ring=True)
    assert state(client, job_id) == "queued"
    assert client.redis.zcard(KEYS.leases("sandbox")) == 0
    until(lambda: sandbox.calls()[0]["end"] == "client_closed")


def test_J8_a_second_signal_ends_the_time_of_grace(start: Start, client: Client) -> None:
    host = start()
    job_id, ran = host.run("answer?chunks=500&every_ms=50")
    until(lambda: state(client, job_id) == "streaming")
    host.engine.drain(at_once=False)
    until(lambda: host.engine.run("any") == LetGo("this worker shuts down", ring=True))
    assert not ran.done()
    host.engine.drain(at_once=False)
    assert ran.result(5) == LetGo("handed_back", ring=True)


def test_a_job_that_was_handed_back_is_whole_in_the_end(start: Start, client: Client) -> None:
    first, second = start(), start()
    job_id, ran = first.run("answer?chunks=30&every_ms=20")
    until(lambda: state(client, job_id) == "streaming")
    first.engine.drain(at_once=True)
    assert ran.result(5) == LetGo("handed_back", ring=True)
    assert isinstance(second.engine.run(job_id), Ended)
    kinds = [event.type for event in attach(job_id).stream(timeout_s=5) if event.type != "delta"]
    assert kinds == ["committed", "reset", "committed", "completed"]


def test_J1_the_sweep_rings_for_a_job_whose_owner_is_gone(start: Start, client: Client) -> None:
    host, desk = start(), Desk(client.redis)
    desk.create(deadline_ms=3_000_000_000_000)  # long ago, and owned since then
    desk.take("gone")
    until(lambda: host.rung == [JOB])


def test_J9_suspects_run_one_at_a_time_and_others_beside_them(start: Start, sandbox: Sandbox, client: Client) -> None:
    host = start()
    suspects = [host.journal("answer?chunks=5&every_ms=60") for _ in range(2)]
    for job_id in suspects:
        client.redis.hset(KEYS.record(job_id), "deaths", 2)

    ran = [host.threads.submit(host.engine.run, job_id) for job_id in suspects]
    other, _ = host.run("answer?chunks=2")

    assert attach(other).get(timeout=5).text == "word-0 word-1 "
    assert all(isinstance(each.result(20), Ended) for each in ran)
    one, two = sorted(
        (call for call in sandbox.calls() if "every_ms=60" in call["model"]), key=lambda call: call["started_s"]
    )
    assert two["started_s"] >= one["ended_s"]
