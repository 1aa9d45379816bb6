from urllib.parse import quote

import pytest


def test_an_outage_and_its_end(sandbox):
    path = "/sandbox/behaviours/gpt-main"
    assert sandbox.call("gpt-main").status_code == 404
    assert sandbox.http.put(path, json={"behaviour": "answer"}).status_code == 204
    assert sandbox.call("gpt-main").json()["model"] == "gpt-main"
    sandbox.http.put(path, json={"behaviour": "503"})
    assert sandbox.call("gpt-main").status_code == 503
    assert sandbox.http.get("/sandbox/behaviours").json() == {"gpt-main": "503"}
    assert sandbox.http.delete(path).status_code == 204
    assert sandbox.call("gpt-main").status_code == 404


@pytest.mark.parametrize("path", ["answer?chunks=2&text=a b", quote("answer?chunks=2&text=a b"), "provider/name"])
def test_names_with_options(sandbox, path):
    model = "provider/name" if "/" in path else "answer?chunks=2&text=a b"
    sandbox.http.put(f"/sandbox/behaviours/{path}", json={"behaviour": "500"})
    assert sandbox.call(model).status_code == 500
    sandbox.http.delete(f"/sandbox/behaviours/{path}")
    assert sandbox.http.get("/sandbox/behaviours").json() == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"behaviour": 503}', b'{"behaviour": "nosuch"}'])
def test_a_behaviour_that_is_none(sandbox, body):
    assert sandbox.http.put("/sandbox/behaviours/m", content=body).status_code == 400
    assert sandbox.http.get("/sandbox/behaviours").json() == {}


def test_the_log_is_filtered_and_emptied(sandbox):
    for key, model in [("a", "answer"), ("b?slots=3", "answer"), ("a", "503?times=1")]:
        sandbox.call(model, key=key, content="a secret word")
    everything = sandbox.log()
    seqs = [call["seq"] for call in everything["calls"]]
    assert [call["seq"] for call in sandbox.log(key="a")["calls"]] == [seqs[0], seqs[2]]
    assert list(sandbox.log(key="b?slots=3")["keys"]) == ["b"]
    assert [call["model"] for call in sandbox.log(model="503?times=1")["calls"]] == ["503?times=1"]
    assert [call["seq"] for call in sandbox.log(since=seqs[1])["calls"]] == [seqs[2]]
    assert "secret" not in str(everything)
    assert sandbox.http.get("/sandbox/log", params={"since": "x"}).status_code == 400
    assert sandbox.http.delete("/sandbox/log").status_code == 204
    assert sandbox.log() == {"calls": [], "keys": {}}
    assert sandbox.call("503?times=1", key="a").status_code == 503
