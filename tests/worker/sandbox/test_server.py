import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from worker.sandbox.behaviours import BEHAVIOURS


def test_an_answer_streamed_and_not(sandbox):
    body = sandbox.call("answer?chunks=3").json()
    assert body["choices"][0]["message"]["content"] == "word-0 word-1 word-2 "
    assert body["usage"]["prompt_tokens"] == 3
    events = sandbox.events("answer?chunks=3", stream_options={"include_usage": True})
    assert len(events) == 1 + 3 + 1 + 1 + 1
    assert events[-1] == "[DONE]"
    call = sandbox.last_call()
    assert (call["status"], call["chunks"], call["end"], call["stream"]) == (200, 3, "finished", True)
    assert call["started_s"] <= call["ended_s"] <= time.time()


def test_echo(sandbox):
    assert sandbox.call("echo", content="say  this\n").json()["choices"][0]["message"]["content"] == "say  this\n"


def test_a_stamp_is_the_time_of_sending(sandbox):
    with sandbox.stream("answer?chunks=10&every_ms=20&stamp=1") as response:
        lines = ((line, time.time_ns()) for line in response.iter_lines())
        late_ns = [now - int(found[1]) for line, now in lines if (found := re.search(r'"content":"(\d+) "', line))]
    assert len(late_ns) == 10
    assert sorted(late_ns)[5] < 10_000_000


def test_headers_come_before_a_late_first_chunk(sandbox):
    started_s = time.monotonic()
    with sandbox.stream("answer?first_ms=400") as response:
        assert time.monotonic() - started_s < 0.3
        response.read()
    assert time.monotonic() - started_s >= 0.39


def test_an_answer_keeps_its_pace(sandbox):
    started_s = time.monotonic()
    sandbox.events("answer?chunks=21&every_ms=20")
    assert 0.39 < time.monotonic() - started_s < 0.8


@pytest.mark.parametrize("model", ["nosuch", "answer?nosuch=1"])
def test_unknown_models(sandbox, model):
    response = sandbox.call(model)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert "cut" in response.json()["error"]["message"] or "chunks" in response.json()["error"]["message"]


def test_keys(sandbox):
    assert sandbox.call("answer", key="").status_code == 200
    assert sandbox.last_call()["key"] == "anonymous"
    assert sandbox.call("answer", key="gone?status=403").status_code == 403
    limited = [sandbox.call("answer", key="l?rpm=2") for _ in range(3)]
    assert [response.status_code for response in limited] == [200, 200, 429]
    assert limited[0].headers["x-ratelimit-remaining-requests"] == "1"
    assert limited[2].headers["Retry-After"] == "60"
    key = sandbox.log()["keys"]["l"]
    assert (key["calls"], key["refused"], key["violations"], key["in_flight"]) == (3, 1, 1, 0)


def test_slots(sandbox):
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(sandbox.stream("stall", key="s?slots=2"))
        refused = sandbox.call("answer", key="s?slots=2")
        assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"
        assert sandbox.log(key="s?slots=2")["keys"]["s"]["in_flight"] == 2
    sandbox.until(lambda: sandbox.log()["keys"]["s"]["in_flight"] == 0)
    assert sandbox.call("answer", key="s?slots=2").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_the_end_of_a_call_frees_its_slot_for_whoever_saw_it(sandbox, stream):
    """Four threads over four slots call again as soon as they have an answer: never a violation."""

    def calls(_):
        with httpx.Client(base_url=sandbox.url, headers={"Authorization": "Bearer busy?slots=4"}) as client:
            body = {
                "model": "answer?chunks=3",
                "stream": stream,
                "messages": [{"role": "user", "content": "x"}],
            }
            return {client.post("/chat/completions", json=body).status_code for _ in range(50)}

    with ThreadPoolExecutor(4) as pool:
        assert set.union(*pool.map(calls, range(4))) == {200}
    key = sandbox.log()["keys"]["busy"]
    assert (key["calls"], key["violations"]) == (200, 0)
    assert key["peak_in_flight"] <= 4


def test_requests_that_cannot_be_read(sandbox):
    response = sandbox.http.post("/v1/chat/completions", content=b"{", headers={"Authorization": "Bearer me"})
    assert (response.status_code, sandbox.last_call()["model"]) == (400, "")


def test_models(sandbox):
    rows = sandbox.http.get("/v1/models").json()["data"]
    assert [row["id"] for row in rows] == list(BEHAVIOURS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_and_ends_cleanly(number):
    command = [sys.executable, "-m", "worker.sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        url = re.fullmatch(r"sandbox: (http://127\.0\.0\.1:\d+/v1)\n", line)[1]
        body = {"model": "silence", "messages": [{"role": "user", "content": "x"}]}
        hanging = threading.Thread(target=lambda: _swallow(url, body))
        hanging.start()
        log = url.removesuffix("/v1") + "/sandbox/log"
        end_s = time.monotonic() + 5
        while not httpx.get(log).json()["calls"]:
            assert time.monotonic() < end_s
        process.send_signal(number)
        assert process.wait(timeout=5) == 0
        assert process.stderr.read() == ""
        hanging.join(5)


def _swallow(url, body):
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{url}/chat/completions", json=body, headers={"Authorization": "Bearer me"}, timeout=10)
