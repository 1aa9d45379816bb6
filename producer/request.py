"""What a caller may ask for, checked at the door.

A request has two parts: the body, OpenAI's chat-completions parameters, which goes upstream as it is, and the
envelope, understudy's own fields, which stays here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
)

from producer.errors import InvalidRequest

Priority = Literal["interactive", "batch"]
AfterCommit = Literal["restart", "continue", "fail"]

ENVELOPE = frozenset({"model", "deadline_s", "priority", "idempotency_key", "after_commit"})

_NAME = re.compile(r"[^\s|\x00-\x1f]+")


def _model_name(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if not _NAME.fullmatch(value):
            raise ValueError("expected a group or provider/model, without spaces, '|' or control characters")
    return value


def _chain_member(value: Any) -> Any:
    value = _model_name(value)
    if isinstance(value, str) and not all(part.strip() for part in value.partition("/")):
        raise ValueError("expected provider/model")
    return value


ModelName = Annotated[str, BeforeValidator(_model_name)]
ChainMember = Annotated[str, BeforeValidator(_chain_member)]


class Message(BaseModel):
    """One message in OpenAI's shape; fields other than the role are passed on as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, JsonValue]

    role: Annotated[str, StringConstraints(min_length=1)]


class CompletionRequest(BaseModel):
    """A chat completion: any OpenAI parameter, and understudy's own.

    >>> request = CompletionRequest.checked(model="chat", messages=[{"role": "user", "content": "Hi"}])
    >>> request.body()
    {'messages': [{'role': 'user', 'content': 'Hi'}], 'stream': False}
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)
    __pydantic_extra__: dict[str, JsonValue]

    model: ModelName | Annotated[list[ChainMember], Field(min_length=1)]
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool = False
    n: Literal[1] | None = None  # a job has one answer

    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False)] | None = None
    priority: Priority = "interactive"
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    after_commit: AfterCommit | None = None

    @classmethod
    def checked(cls, *args: Any, **fields: Any) -> CompletionRequest:
        """The request, or `InvalidRequest` naming every wrong field by its path."""
        if args:
            raise InvalidRequest(f"takes keyword arguments only, got {len(args)} positional")
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise InvalidRequest(*problems_of(error)) from None

    def body(self) -> dict[str, Any]:
        """What goes upstream: the parameters that were given, in their order, and `stream`."""
        given = self.model_dump(mode="json", exclude_unset=True, exclude=set(ENVELOPE))
        return {**given, "stream": self.stream}

    def digest(self) -> str:
        """The same for the same request: of the fields given explicitly, in any order."""
        given = self.model_dump(mode="json", exclude_unset=True, exclude={"idempotency_key"})
        canonical = json.dumps(given, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def problems_of(error: ValidationError) -> list[str]:
    """A validation error as lines `field.path: what is wrong`, without the values that were given.

    >>> problems_of(error)
    ['messages.0.role: Field required']
    """
    return [f"{_path(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_input=False)]


def _path(location: Sequence[int | str]) -> str:
    """Without the names of the union's branches, which are pydantic's and say nothing to a caller."""
    return ".".join(str(part) for part in location if not (isinstance(part, str) and "[" in part)) or "request"
