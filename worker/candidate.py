"""A candidate: one model at one provider."""

from __future__ import annotations

from typing import NamedTuple


class Candidate(NamedTuple):
    """`provider/model`, the provider in lower case.

    >>> Candidate.parse(" OpenAI/gpt-5.2 ")
    Candidate(provider='openai', model='gpt-5.2')
    """

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Raises ValueError where the provider or the model is missing."""
        provider, slash, model = text.strip().partition("/")
        candidate = cls(provider.strip().lower(), model.strip())
        if not slash or not all(candidate):
            raise ValueError(f"{text!r}: expected 'provider/model'")
        return candidate

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"
