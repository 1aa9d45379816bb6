"""The producer's configuration: environment over file over defaults, and every fault at once."""

from pathlib import Path

import pytest

from producer.errors import ConfigurationError
from producer.settings import Place, Settings, read_file


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems_of(toml: str = "", **environ: str) -> tuple[str, ...]:
    Path("understudy.toml").write_text(toml)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(environ)
    return caught.value.problems


def test_nothing_given_is_the_defaults() -> None:
    settings = Settings.load({})
    assert settings.redis_url == settings.broker_url == "redis://127.0.0.1:6379/0"
    assert settings.keys.namespace == "understudy"
    assert settings.defaults.model_dump() == {
        "deadline_s": 600,
        "after_commit": "restart",
        "result_ttl_s": 86400,
        "batch_headroom": 0.2,
        "max_request_bytes": 1_000_000,
        "max_output_bytes": 4_000_000,
    }


def test_the_file_and_the_environment_are_read() -> None:
    Path("other.toml").write_text('[defaults]\ndeadline_s = 5\nafter_commit = "fail"\n')
    environ = {
        "UNDERSTUDY_CONFIG": "other.toml",
        "REDIS_URL": "sentinel://a:26379,b:26379/master/0",
        "UNDERSTUDY_BROKER_URL": "amqp://guest:guest@h//",
        "UNDERSTUDY_NAMESPACE": "shop",
    }
    settings = Settings.load(environ)
    assert (settings.defaults.deadline_s, settings.defaults.after_commit) == (5, "fail")
    assert settings.redis_url == environ["REDIS_URL"]
    assert settings.broker_url == environ["UNDERSTUDY_BROKER_URL"]
    assert settings.keys.queue("batch") == "shop.batch"


def test_an_empty_variable_is_not_set() -> None:
    names = ("UNDERSTUDY_CONFIG", "REDIS_URL", "UNDERSTUDY_BROKER_URL", "UNDERSTUDY_NAMESPACE")
    assert Settings.load(dict.fromkeys(names, "")) == Settings.load({})


def test_the_producer_does_not_look_at_the_workers_tables() -> None:
    Path("understudy.toml").write_text("[providers.openai]\nmax_attempts = 'x'\n[worker]\nq = 1\n")
    assert Settings.load({}) == Settings.load({})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('deadline_s = "3"', "deadline_s = '3': expected a number"),
        ("deadline_s = 0", "deadline_s = 0: expected more than 0"),
        ("deadline_s = 1e9", "deadline_s = 1000000000.0: expected at most 2592000"),
        ("deadline_s = nan", "deadline_s = nan: expected a finite number"),
        ("deadline_s = true", "deadline_s = True: expected a number"),
        ("result_ttl_s = 1.5", "result_ttl_s = 1.5: expected an integer"),
        ("batch_headroom = 1", "batch_headroom = 1: expected less than 1"),
        ("batch_headroom = -0.1", "batch_headroom = -0.1: expected at least 0"),
        ('after_commit = "x"', "after_commit = 'x': expected 'restart', 'continue' or 'fail'"),
    ],
)
def test_a_wrong_default_is_named_with_file_key_value_and_what_was_expected(line: str, expected: str) -> None:
    assert problems_of(f"[defaults]\n{line}\n") == (f"understudy.toml: defaults.{expected}",)


def test_an_unknown_default_names_those_that_exist() -> None:
    (problem,) = problems_of("[defaults]\ndeadline = 3\n")
    assert problem.startswith("understudy.toml: defaults.deadline = 3: unknown key, expected one of deadline_s, ")


def test_defaults_that_are_no_table() -> None:
    assert problems_of("defaults = 3") == ("understudy.toml: defaults = 3: expected a table",)


def test_all_faults_at_once() -> None:
    problems = problems_of(
        "[defaults]\ndeadline_s = 0\nresult_ttl_s = 0\n",
        REDIS_URL="http://h",
        UNDERSTUDY_BROKER_URL="sqs://h",
        UNDERSTUDY_NAMESPACE="a b",
    )
    assert [problem.partition(": ")[2].split(" =")[0].split(":")[0] for problem in problems] == [
        "scheme 'http'",
        "scheme 'sqs'",
        "'a b'",
        "defaults.deadline_s",
        "defaults.result_ttl_s",
    ]


@pytest.mark.parametrize("url", ["hunter2", "redis:hunter2", "redis://:hunter2@h:port", "redis://u:hunter2/x@h"])
def test_a_url_that_is_wrong_does_not_show_its_password(url: str) -> None:
    for name in ("REDIS_URL", "UNDERSTUDY_BROKER_URL"):
        (problem,) = problems_of(**{name: url})
        assert problem.startswith(f"{name}: expected a ")
        assert "hunter2" not in problem


def test_no_password_is_in_the_repr() -> None:
    settings = Settings.load({"REDIS_URL": "redis://:hunter2@h", "UNDERSTUDY_BROKER_URL": "amqp://u:hunter2@h"})
    assert "hunter2" not in repr(settings)


def test_a_file_that_is_named_must_be_there() -> None:
    (problem,) = problems_of(UNDERSTUDY_CONFIG="nowhere.toml")
    assert problem == "UNDERSTUDY_CONFIG: 'nowhere.toml': expected a readable file: No such file or directory"


def test_a_file_that_is_no_toml_is_named_with_the_line() -> None:
    (problem,) = problems_of("[defaults]\ndeadline_s = \n")
    assert problem.startswith("understudy.toml: not TOML: ")
    assert "line 2" in problem
    Path("understudy.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not TOML"):
        read_file({})


def test_a_place_is_written_as_a_key_or_as_a_variable() -> None:
    assert str(Place("f.toml").at("a", "b", 0, "c")) == "f.toml: a.b[0].c"
    assert Place("f.toml", "a").fault("expected b", "1") == "f.toml: a = 1: expected b"
    assert Place("", "A").at(1, 0).fault("expected b", "1") == "A[1][0]: 1: expected b"
    assert Place("", "A").fault("expected b") == "A: expected b"
