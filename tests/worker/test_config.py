"""The worker's configuration: every fault at once, each with its place, and no secret in what it says."""

import re
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from producer.errors import ConfigurationError
from producer.settings import Defaults
from worker.config import Config, Credential, Model, Provider, WorkerSettings
from worker.providers import ROWS

ROOT = Path(__file__).parents[2]
SECRET = "sk-Hunter2hunter2"
CREDENTIAL = '[[providers.openai.credentials]]\nname = "a"\nsecret = "env:K"\n'


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(toml: str = "", **environ: str) -> Config:
    Path("understudy.toml").write_text(toml)
    return Config.load({"K": SECRET, **environ})


def problems_of(toml: str = "", **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(toml, **environ)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in told
    return list(caught.value.problems)


def names(config: Config, provider: str) -> list[str]:
    return [credential.name for credential in config.providers[provider].credentials]


# ---- what is read


def test_nothing_given_is_the_defaults() -> None:
    config = Config.load({})
    assert set(config.providers) == set(ROWS) - {"vllm"}
    assert config.worker == WorkerSettings(concurrency=256, grace_s=20, lease_s=10, max_deaths=5)
    assert config.settings.defaults == Defaults()
    assert (config.groups.groups, config.warnings) == ((), ())
    assert config.providers["openai"].model_dump() == {
        "dialect": "openai",
        "base_url": "https://api.openai.com/v1",
        "max_attempts": 3,
        "connect_timeout_s": 5,
        "first_token_timeout_s": 20,
        "idle_timeout_s": 30,
        "total_timeout_s": 300,
        "max_concurrency": None,
        "rate_limit_scope": "model",
        "tier_order": "ascending",
        "streaming": True,
        "rpm": None,
        "tpm": None,
        "retry_after_wait_s": 5,
        "capacity_wait_s": 0,
        "on_content_filter": "fail",
        "models": (),
        "credentials": (),
    }


def test_values_are_frozen() -> None:
    config = load(CREDENTIAL)
    for value in (
        config,
        config.worker,
        config.providers["openai"],
        config.providers["openai"].credentials[0],
    ):
        with pytest.raises(ValidationError):
            setattr(value, next(iter(type(value).model_fields)), 1)


def test_a_whole_provider() -> None:
    models = '[[providers.openai.models]]\nname = "gpt-5.2"\nrpm = 100\ndimensions = 8\n'
    limits = 'tier = 2\nweight = 3\nmax_concurrency = 10\nrpm = 500\ntpm = 9\nmodels = ["gpt-5.2*"]\n'
    provider = load(
        f"[providers.OpenAI]\nmax_attempts = 4\n{models}{CREDENTIAL}{limits}".replace(".openai.", ".OpenAI.")
    )
    openai = provider.providers["openai"]
    (credential,) = openai.credentials
    assert (openai.max_attempts, openai.dialect, openai.base_url) == (
        4,
        "openai",
        "https://api.openai.com/v1",
    )
    assert openai.models == (Model(name="gpt-5.2", rpm=100, dimensions=8),)
    assert credential.secret.get_secret_value() == SECRET
    assert credential.model_dump(exclude={"secret"}) == {
        "name": "a",
        "tier": 2,
        "weight": 3,
        "max_concurrency": 10,
        "rpm": 500,
        "tpm": 9,
        "models": ("gpt-5.2*",),
    }


def test_a_provider_of_ones_own() -> None:
    config = load('[providers.my-host]\ndialect = "openai"\nbase_url = "https://h.example/v1/"\n', MY_HOST_API_KEY="k")
    assert config.providers["my-host"].base_url == "https://h.example/v1"
    assert names(config, "my-host") == ["my_host_api_key"]


# ---- credentials and base URLs of the environment


def test_keys_of_the_environment_are_credentials_by_their_variables_names() -> None:
    config = load(OPENAI_API_KEY_2="k2", OPENAI_API_KEY="k0", OPENAI_API_KEY_10="k10", GROQ_API_KEY_1="g")
    assert names(config, "openai") == ["openai_api_key", "openai_api_key_2", "openai_api_key_10"]
    assert names(config, "groq") == ["groq_api_key_1"]
    assert config.providers["openai"].credentials[1].secret.get_secret_value() == "k2"


def test_credentials_of_the_file_win_and_a_key_that_is_left_out_is_a_warning() -> None:
    file = CREDENTIAL.replace("env:K", "env:OPENAI_API_KEY")
    config = load(file, OPENAI_API_KEY="k0", OPENAI_API_KEY_1="k1")
    assert names(config, "openai") == ["a"]
    assert config.warnings == (
        "OPENAI_API_KEY_1 is not used: understudy.toml: providers.openai.credentials leaves it out",
    )


def test_a_provider_of_the_file_without_credentials_takes_those_of_the_environment() -> None:
    assert names(load("[providers.openai]\nrpm = 5\n", OPENAI_API_KEY="k"), "openai") == ["openai_api_key"]
    assert names(load("[providers.openai]\ncredentials = []\n", OPENAI_API_KEY="k"), "openai") == ["openai_api_key"]


def test_a_provider_that_needs_no_key_has_a_credential_without_a_secret() -> None:
    config = load(VLLM_API_BASE="http://127.0.0.1:8000/v1", OLLAMA_API_KEY="k")
    assert names(config, "sandbox") == names(config, "vllm") == ["none"]
    assert config.providers["vllm"].credentials[0].secret.get_secret_value() == ""
    assert names(config, "ollama") == ["ollama_api_key"]
    assert config.warnings == ()


def test_the_environments_base_url_wins() -> None:
    file = '[providers.openai]\nbase_url = "https://file/v1"\n'
    assert load(file).providers["openai"].base_url == "https://file/v1"
    assert load(file, OPENAI_API_BASE="").providers["openai"].base_url == "https://file/v1"
    assert load(file, OPENAI_API_BASE="http://env:1/").providers["openai"].base_url == "http://env:1"


def test_vllm_is_there_once_its_base_url_is() -> None:
    assert problems_of(VLLM_API_KEY=SECRET) == [
        "understudy.toml: providers.vllm.base_url: expected a value, there is none"
    ]
    assert "vllm" in load('[providers.vllm]\nbase_url = "http://h/v1"\n').providers


# ---- secrets


def test_a_secret_of_a_file_loses_its_trailing_newline() -> None:
    Path("key").write_bytes(f"{SECRET}\r\n".encode())
    (credential,) = load(CREDENTIAL.replace("env:K", "file:key")).providers["openai"].credentials
    assert credential.secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("env:NOT_SET", "expected the environment variable NOT_SET to be set"),
        ("env:gsk_Hunter2", "expected the environment variable that is named here to be set"),
        ("file:nowhere", "expected the file nowhere to be readable: No such file or directory"),
        ("file:bytes", "expected the file bytes to be text"),
        ("file:empty", "expected a secret, empty is empty"),
        ("env:EMPTY", "expected a secret, EMPTY is empty"),
        ("env:TWO_WORDS", "expected a secret of printable ASCII without spaces in TWO_WORDS"),
        ("env:TWO_LINES", "expected a secret of printable ASCII without spaces in TWO_LINES"),
        ("env:", "expected env:NAME or file:PATH"),
        ("", "expected env:NAME or file:PATH"),
        (SECRET, "expected env:NAME or file:PATH"),
        (f"vault:{SECRET}", "expected env:NAME or file:PATH"),
    ],
)
def test_a_secret_that_cannot_be_had_names_its_source_and_no_value(source: str, expected: str) -> None:
    Path("empty").write_text("\n")
    Path("bytes").write_bytes(b"\xff\xfe")
    environ = {"EMPTY": "", "TWO_WORDS": f"a {SECRET}", "TWO_LINES": f"a\n{SECRET}"}
    (problem,) = problems_of(CREDENTIAL.replace("env:K", source), **environ)
    assert problem == f"understudy.toml: providers.openai.credentials[0].secret: {expected}"


def test_an_empty_key_of_the_environment_is_named() -> None:
    assert problems_of(GROQ_API_KEY="") == ["GROQ_API_KEY: expected a secret, GROQ_API_KEY is empty"]


@pytest.mark.parametrize(
    "toml",
    [
        f'[providers.openai]\napi_key = "{SECRET}"\n',
        f'[providers.openai]\ncredentials = "{SECRET}"\n',
        f'[providers.openai]\ncredentials = ["{SECRET}"]\n',
        f'[providers.openai]\ncredentials = {{ secret = "{SECRET}" }}\n',
        f'[providers.openai]\nmodels = ["{SECRET}"]\n',
        f'[providers.openai]\nmax_attempts = {{ secret = "{SECRET}" }}\n',
        f'[providers.openai]\nbase_url = "https://u:{SECRET}@h/v1"\n',
        f'[providers.openai]\nbase_url = "https://h/v1?key={SECRET}"\n',
        f'[providers]\nopenai = "{SECRET}"\n',
        f'providers = "{SECRET}"\n',
        f'openai_api_key = "{SECRET}"\n',
        f'[worker]\nkey = "{SECRET}"\n',
        f'{CREDENTIAL}key = "{SECRET}"\n',
        CREDENTIAL.replace("env:K", SECRET),
        CREDENTIAL.replace("env:K", f"env:{SECRET}"),
        CREDENTIAL.replace('"env:K"', f'["{SECRET}"]'),
        f'[[providers.openai.credentials]]\nname = "a"\nsecret = "{SECRET}\n',
    ],
)
def test_no_fault_shows_a_secret_in_the_wrong_place(toml: str) -> None:
    assert problems_of(toml)  # which looks at all that is said


def test_an_unquoted_secret_is_not_shown() -> None:
    (problem,) = problems_of(CREDENTIAL.replace('"env:K"', "123456789"))
    assert problem == "understudy.toml: providers.openai.credentials[0].secret: expected env:NAME or file:PATH"


def test_no_secret_is_in_anything_a_config_says() -> None:
    Path("key").write_text(f"{SECRET}file")
    file = CREDENTIAL + CREDENTIAL.replace('"a"', '"b"').replace("env:K", "file:key")
    password = f"redis://:{SECRET}@h"
    config = load(file, GROQ_API_KEY=SECRET, REDIS_URL=password, UNDERSTUDY_BROKER_URL=password)
    credential = config.providers["openai"].credentials[0]
    said = [repr(config), str(config), str(config.model_dump()), config.model_dump_json(), *config.warnings]
    said += [repr(credential), str(credential), f"{credential.secret}", credential.model_dump_json()]
    said += [repr(config.model_dump(mode="json")), repr(config.settings)]
    assert not [text for text in said if SECRET in text]
    assert credential.secret.get_secret_value() == SECRET


# ---- faults


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('max_attempts = "x"', "max_attempts = 'x': expected an integer"),
        ('max_attempts = "3"', "max_attempts = '3': expected an integer"),
        ("max_attempts = 3.0", "max_attempts = 3.0: expected an integer"),
        ("max_attempts = true", "max_attempts = True: expected an integer"),
        ("max_attempts = 0", "max_attempts = 0: expected more than 0"),
        ("connect_timeout_s = 0", "connect_timeout_s = 0: expected more than 0"),
        ("total_timeout_s = inf", "total_timeout_s = inf: expected a finite number"),
        ("retry_after_wait_s = -1", "retry_after_wait_s = -1: expected at least 0"),
        ("max_concurrency = 0", "max_concurrency = 0: expected more than 0"),
        ("rpm = -5", "rpm = -5: expected more than 0"),
        ("streaming = 1", "streaming = 1: expected true or false"),
        ('rate_limit_scope = "key"', "rate_limit_scope = 'key': expected 'model' or 'credential'"),
        ('tier_order = "down"', "tier_order = 'down': expected 'ascending' or 'descending'"),
        ('on_content_filter = "go"', "on_content_filter = 'go': expected 'fail' or 'next'"),
        ('dialect = "smtp"', "dialect = 'smtp': expected a dialect: openai"),
        ("dialect = 3", "dialect = 3: expected a string"),
        ("base_url = 3", "base_url = 3: expected a string"),
        ("models = 3", "models = 3: expected a list"),
        ("models = [3]", "models[0] = 3: expected a table"),
        ("models = [{}]", "models[0].name: expected a value, there is none"),
        ('models = [{name = "a|b"}]', r"models[0].name = 'a|b': expected text of the form ^[^\s|]+$"),
        ('models = [{name = "a", rpm = 0}]', "models[0].rpm = 0: expected more than 0"),
        ('models = [{name = "a", dimensions = -1}]', "models[0].dimensions = -1: expected at least 0"),
        (
            'models = [{name = "a"}, {name = "a"}]',
            "models[1].name = 'a': expected each name once",
        ),
    ],
)
def test_a_wrong_value_is_named_with_file_key_value_and_what_was_expected(line: str, expected: str) -> None:
    assert problems_of(f"[providers.openai]\n{line}\n") == [f"understudy.toml: providers.openai.{expected}"]


@pytest.mark.parametrize(
    "url", ["h", "ftp://h", "http://", "http://h:x", "http://h:0", "http://h h", "//h", "http://["]
)
def test_a_base_url_is_http_with_a_host(url: str) -> None:
    expected = "expected http://HOST or https://HOST, with a path such as /v1"
    assert problems_of(f'[providers.openai]\nbase_url = "{url}"\n') == [
        f"understudy.toml: providers.openai.base_url = {url!r}: {expected}"
    ]
    assert problems_of(GROQ_API_BASE=url) == [f"GROQ_API_BASE: {url!r}: {expected}"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tier = -1", "tier = -1: expected at least 0"),
        ("weight = 0", "weight = 0: expected more than 0"),
        ("max_concurrency = 0", "max_concurrency = 0: expected more than 0"),
        ("rpm = 0", "rpm = 0: expected more than 0"),
        ("tpm = -1", "tpm = -1: expected more than 0"),
        ("models = [1]", "models[0] = 1: expected a string"),
        ("models = 'gpt*'", "models: expected a list"),
    ],
)
def test_a_credentials_fault_has_its_place(line: str, expected: str) -> None:
    assert problems_of(CREDENTIAL + line) == [f"understudy.toml: providers.openai.credentials[0].{expected}"]


@pytest.mark.parametrize("name", ["", "a b", "a|b", "a:b", "a/b", "é", "a\\n"])
def test_a_credentials_name_has_no_separators(name: str) -> None:
    (problem,) = problems_of(CREDENTIAL.replace('"a"', f'"{name}"'))
    assert problem.startswith("understudy.toml: providers.openai.credentials[0].name = '")
    assert problem.endswith(": expected text of the form ^[A-Za-z0-9_.-]+$")


def test_two_credentials_of_one_name_are_refused() -> None:
    assert problems_of(CREDENTIAL * 2) == [
        "understudy.toml: providers.openai.credentials[1].name = 'a': expected each name once"
    ]


def test_an_unknown_provider_needs_a_base_url_and_a_dialect() -> None:
    assert problems_of("[providers.mine]\nrpm = 5\n") == [
        "understudy.toml: providers.mine.dialect: expected a value, there is none",
        "understudy.toml: providers.mine.base_url: expected a value, there is none",
    ]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[workers]\n", "workers: unknown table, expected one of providers, groups, worker, defaults"),
        ("providers = 3", "providers: expected a table"),
        ("providers.openai = 3", "providers.openai: expected a table"),
        ('[providers."a/b"]\n', "providers.a/b: expected a name of letters, digits, '.', '_' and '-'"),
        (
            "[providers.xai]\n[providers.XAI]\n",
            "providers.XAI: expected each provider once, whatever its letters' case",
        ),
        ("worker = 3", "worker = 3: expected a table"),
        ('[worker]\nconcurrency = "3"', "worker.concurrency = '3': expected an integer"),
        ("[worker]\nlease_s = 0", "worker.lease_s = 0: expected more than 0"),
        ("[worker]\ngrace_s = -1", "worker.grace_s = -1: expected at least 0"),
        ("[worker]\nmax_deaths = 0", "worker.max_deaths = 0: expected more than 0"),
        (
            "[worker]\nprocesses = 2",
            "worker.processes = 2: unknown key, expected one of concurrency, grace_s, lease_s, max_deaths",
        ),
        ("[defaults]\ndeadline_s = 0", "defaults.deadline_s = 0: expected more than 0"),
        ("[groups]\nchat = ['openai/m', '/m']", "groups.chat[1] = '/m': expected 'provider/model'"),
        (
            "[groups]\nchat = ['vllm/m']",
            "groups.chat[0] = 'vllm/m': expected a known provider, or [providers.vllm] with base_url and dialect",
        ),
    ],
)
def test_every_table_is_checked(toml: str, problem: str) -> None:
    assert problems_of(toml) == [f"understudy.toml: {problem}"]


def test_all_faults_at_once() -> None:
    problems = problems_of(
        f"extra = 1\n[providers.openai]\nrpm = 0\ntpm = 0\n{CREDENTIAL}rpm = 0\n{CREDENTIAL}tpm = 0\n"
        "[providers.mine]\nrpm = 0\n[worker]\nlease_s = 0\n"
        "[defaults]\ndeadline_s = 0\n[groups]\nchat = ['/m']\n",
        REDIS_URL="http://h",
        MODEL_FALLBACK_GROUPS="[",
        GROQ_API_KEY="",
        GROQ_API_BASE="h",
    )
    assert [re.split(" =|: |$", problem.removeprefix("understudy.toml: "))[0] for problem in problems] == [
        "extra",
        "REDIS_URL",
        "defaults.deadline_s",
        "worker.lease_s",
        "providers.openai.credentials[1].name",
        "providers.openai.rpm",
        "providers.openai.tpm",
        "providers.openai.credentials[0].rpm",
        "providers.openai.credentials[1].tpm",
        "providers.mine.dialect",
        "providers.mine.base_url",
        "providers.mine.rpm",
        "GROQ_API_BASE",
        "GROQ_API_KEY",
        "MODEL_FALLBACK_GROUPS",
        "groups.chat[0]",
    ]


# ---- what is legal, and suspicious


def test_A5_the_warning_names_both_groups() -> None:
    config = load('[groups]\nchat = ["ollama/m"]\nfast = ["sandbox/m", "ollama/m"]\n')
    assert config.warnings == (
        "ollama/m is in understudy.toml: groups.chat and in understudy.toml: groups.fast: the first serves",
    )


def test_a_group_member_without_credentials_is_a_warning() -> None:
    config = load(f'{CREDENTIAL}models = ["gpt-5*"]\n[groups]\nchat = ["openai/gpt-5", "openai/o3", "groq/m"]\n')
    assert config.warnings == (
        "openai/o3 will be skipped: openai has no credential that allows it",
        "groq/m will be skipped: groq has no credentials",
    )


def test_one_secret_under_two_names_is_a_warning_without_it() -> None:
    config = load(CREDENTIAL, GROQ_API_KEY=SECRET, XAI_API_KEY="other")
    assert config.warnings == ("openai/a and groq/groq_api_key hold one secret: its limits are counted for each",)


def test_globs_that_match_no_model_are_a_warning() -> None:
    model = '[[providers.openai.models]]\nname = "gpt-5.2"\n'
    assert load(f'{model}{CREDENTIAL}models = ["gpt-5*"]').warnings == ()
    assert load(f'{CREDENTIAL}models = ["gtp*", "x"]').warnings == (), "no model is known to compare with"
    assert load(f'{model}{CREDENTIAL}models = ["gtp*", "x"]').warnings == ("openai/a: no models match gtp*, x",)


@pytest.mark.parametrize("place", ["openai", "openai/a", "openai/m"])
def test_a_limit_below_what_one_request_reserves_is_a_warning(place: str) -> None:
    tpm = {"openai": "", "openai/a": "", "openai/m": "", place: "tpm = 999\n"}
    file = f"[providers.openai]\n{tpm['openai']}{CREDENTIAL.removeprefix('[providers.openai]')}{tpm['openai/a']}"
    config = load(f'{file}[[providers.openai.models]]\nname = "m"\n{tpm["openai/m"]}')
    assert config.warnings == (
        f"{place}: tpm = 999 is less than the 1000 tokens that a request without max_tokens reserves: "
        "it waits for a minute of its own",
    )
    assert load(file.replace("999", "1000")).warnings == ()


# ---- the examples that are shipped


def test_the_example_file_loads_without_a_warning_and_shows_every_key() -> None:
    path = ROOT / "examples" / "understudy.toml"
    keys = {"OPENAI_API_KEY": "k1", "OPENAI_API_KEY_TEAM_B": "k2", "MY_HOST_API_KEY": "k3"}
    config = Config.load({"UNDERSTUDY_CONFIG": str(path), **keys})
    assert config.warnings == ()
    assert config.worker == WorkerSettings()
    assert config.settings.defaults == Defaults()
    shown = set(re.findall(r"^([a-z_]+) = ", path.read_text("utf-8"), re.MULTILINE))
    for kind in (Provider, Model, Credential, WorkerSettings, Defaults):
        assert set(kind.model_fields) - {"models", "credentials"} <= shown


def test_the_example_environment_has_every_variable_commented() -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    assert all(not line or line.startswith("#") for line in text.splitlines())
    named = set(re.findall(r"^# ([A-Z0-9_]+)=", text, re.MULTILINE))
    assert named >= {"UNDERSTUDY_CONFIG", "REDIS_URL", "UNDERSTUDY_BROKER_URL", "UNDERSTUDY_NAMESPACE"}
    assert named >= {"MODEL_FALLBACK_GROUPS", "OPENAI_API_KEY_1"}
    assert named >= {f"{name.upper()}_API_BASE" for name in ROWS}
    assert named >= {f"{name.upper()}_API_KEY" for name, row in ROWS.items() if not row.keyless}
    groups = re.findall(r"^# (MODEL_FALLBACK_GROUPS)=(.*)$", text, re.MULTILINE)
    for name, value in groups:
        assert len(Config.load({name: value}).groups.groups) == 2
