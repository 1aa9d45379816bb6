from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.candidate import Candidate

names = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1)


@pytest.mark.parametrize("text", ["openai/gpt-5", " OpenAI/gpt-5 ", "OPENAI / gpt-5"])
def test_A4_spaces_and_the_providers_case_do_not_matter(text: str) -> None:
    assert Candidate.parse(text) == Candidate("openai", "gpt-5")


def test_a_model_may_have_slashes_and_keeps_its_case() -> None:
    assert Candidate.parse("router/Meta/Llama") == Candidate("router", "Meta/Llama")


@pytest.mark.parametrize("text", ["", "/", "openai", "openai/", "/gpt-5", " / gpt-5", "openai/  "])
def test_A6_a_provider_and_a_model_are_needed(text: str) -> None:
    with pytest.raises(ValueError, match="expected 'provider/model'"):
        Candidate.parse(text)


@given(names.filter(lambda name: "/" not in name), names)
def test_what_is_written_is_read_back(provider: str, model: str) -> None:
    candidate = Candidate(provider.lower(), model)

    assert Candidate.parse(str(candidate)) == candidate
