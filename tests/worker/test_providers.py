"""The rows of known providers, and what their keys and addresses are called."""

import pytest
from pydantic import SecretStr

from worker.config import Provider
from worker.providers import DIALECTS, ROWS, Credential, Quirk, base_variable, key_variables, row_of

KNOWN = "openai openrouter groq mistral deepseek together xai fireworks cerebras ollama vllm sandbox"


def test_the_known_providers() -> None:
    assert list(ROWS) == KNOWN.split()
    assert {name for name, row in ROWS.items() if row.keyless} == {"ollama", "vllm", "sandbox"}
    assert [name for name, row in ROWS.items() if row.base_url is None] == ["vllm"]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_makes_a_provider(row: object) -> None:
    assert isinstance(row, type(ROWS["openai"]))
    assert row.dialect in DIALECTS
    base_url = row.base_url or "http://127.0.0.1:8000/v1"
    provider = Provider(dialect=row.dialect, base_url=base_url)
    assert provider.base_url == base_url, "a row's URL is written as it is used"


def test_a_key_is_sent_in_the_rows_header_and_no_key_in_none() -> None:
    assert ROWS["groq"].headers("k-{}") == {"Authorization": "Bearer k-{}"}
    assert ROWS["ollama"].headers("") == {}


def test_a_provider_that_is_not_known_is_as_its_dialect_usually_is() -> None:
    assert row_of("mistral", "openai").quirks == {Quirk.NO_STREAM_OPTIONS}
    row = row_of("my-host", "openai")
    assert row.headers("k") == {"Authorization": "Bearer k"}
    assert not row.quirks
    assert not row.keyless


def test_variables_are_the_providers_name_in_capitals() -> None:
    assert base_variable("my-host.eu") == "MY_HOST_EU_API_BASE"
    environ = dict.fromkeys(
        ["OPENAI_API_KEY_10", "OPENAI_API_KEY_2", "OPENAI_API_KEY", "OPENAI_API_KEY_ID", "MY_OPENAI_API_KEY"],
        "k",
    )
    assert key_variables("openai", environ) == ["OPENAI_API_KEY", "OPENAI_API_KEY_2", "OPENAI_API_KEY_10"]
    assert key_variables("groq", environ) == []


@pytest.mark.parametrize(
    ("globs", "served"), [((), True), (("gpt-5.2*",), True), (("GPT*",), False), (("a", "*-mini"), True)]
)
def test_a_credential_serves_what_its_globs_allow(globs: tuple[str, ...], served: bool) -> None:
    credential = Credential(name="a", secret=SecretStr("k"), models=globs)
    assert credential.serves("gpt-5.2-mini") is served
