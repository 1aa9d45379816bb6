"""Texts from a provider, made safe to show: one short line, without anything that may be a secret. Pure.

Strategy: it is better to redact a harmless word than to show a key, so keys are found by their known
prefixes, by the words around them, by masking stars, and by looking random. Ordinary numbers, model names,
field paths and prose stay, for they are the reason a caller needs to see.
"""

from __future__ import annotations

import re

MAX_CHARS = 300
REDACTED = "[redacted]"

_MAX_READ_CHARS = 2_000  # of what the provider wrote; the rest is not looked at

_NAME = r"api[-_ ]?key|authorization|secret|password|access[-_ ]token"
_VALUE = r"[\"']?[^\s&\"',;)]+"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # https://user:password@host
    (re.compile(r"//[^/@\s]+@"), f"//{REDACTED}@"),
    # Authorization: Bearer ..., or the scheme alone
    (re.compile(r"\b(Bearer|Basic)[\s:]+[^\s\"',;]{4,}", re.I), rf"\1 {REDACTED}"),
    # key=..., api_key=..., access_token=...
    (re.compile(rf"((?:key|token|secret|password|signature)[\"']?=){_VALUE}", re.I), rf"\1{REDACTED}"),
    # "x-api-key": "...", API key provided: ...
    (re.compile(rf"((?:{_NAME})(?: \w+)?[\"']?\s*:\s*){_VALUE}", re.I), rf"\1{REDACTED}"),
    # by their issuers' prefixes, whole or abridged
    (re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|csk|fw|ghp|gho|key)[-_][\w*.…-]{3,}", re.I), REDACTED),
    (re.compile(r"\b(?:AIza|AKIA|ASIA|eyJ|r8_)[\w.-]{8,}"), REDACTED),
    # masked: abcd****wxyz
    (re.compile(r"[\w.-]{0,40}\*{3,}[\w.*-]*"), REDACTED),
)

_LONG_RUN = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_SEPARATOR = re.compile(r"[^A-Za-z0-9]+")
_RANDOM_CHARS = 12  # letters and digits mixed, without a break: no word, date or version is that long


def clean(text: str) -> str:
    """One line of at most 300 characters, without control characters and without secrets.

    >>> clean("Incorrect API key provided: sk-abc123********wxyz.\\n You can find yours at ...")
    'Incorrect API key provided: [redacted] You can find yours at ...'
    """
    line = _one_line(_beginning(text))
    for pattern, replacement in _PATTERNS:
        line = pattern.sub(replacement, line)
    line = _LONG_RUN.sub(_without_random, line)
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1] + "…"


def _beginning(text: str) -> str:
    """Cut between words, so that no half of a key is left which nothing would recognise."""
    if len(text) <= _MAX_READ_CHARS:
        return text
    words = text[:_MAX_READ_CHARS].rsplit(maxsplit=1)
    return words[0] if len(words) == 2 else "…"


def _one_line(text: str) -> str:
    spaced = " ".join(text.split())
    return "".join(character for character in spaced if character.isprintable())


def _without_random(run: re.Match[str]) -> str:
    parts = _SEPARATOR.split(run[0])
    return REDACTED if any(map(_looks_random, parts)) else run[0]


def _looks_random(part: str) -> bool:
    return len(part) >= _RANDOM_CHARS and not part.isalpha() and not part.isdigit()
