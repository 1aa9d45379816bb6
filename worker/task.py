"""The body of `submit_completion`: what a doorbell does in a worker."""

from __future__ import annotations

from typing import Any

from celery.exceptions import Ignore
from celery.worker.request import Request

from producer.client import default_client
from producer.errors import CompletionCancelled, CompletionFailed, InvalidRequest
from producer.journal.journal import create
from producer.lifecycle import State
from producer.request import CompletionRequest
from producer.tasks import SubmitCompletion, new_job
from worker import process
from worker.ending import Ended, LetGo, Verdict


class Told:
    """What Celery is told of a completed job: the result as JSON, and a repr that logs and Flower may show."""

    def __init__(self, result: dict[str, Any]) -> None:
        self._result = result

    def __json__(self) -> dict[str, Any]:
        return self._result

    def __repr__(self) -> str:
        usage = self._result.get("usage") or {}
        return (
            f"<{self._result['model']}: {usage.get('completion_tokens', '?')} tokens, "
            f"{len(self._result['attempts'])} attempts>"
        )


class Doorbell(Request):  # type: ignore[misc]  # celery has no types
    """A message that may have been received without being kept for its acknowledgement.

    One that carries a whole request, sent by name, shows none of it in logs and events.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.kwargsrepr not in ("", "{}"):
            self._request_dict["kwargsrepr"] = self._kwargsrepr = "{...}"

    def acknowledge(self) -> None:
        if self.task.app.amqp.queues[self.delivery_info["routing_key"]].no_ack:
            self.acknowledged = True
        else:
            super().acknowledge()


class RunCompletion(SubmitCompletion):
    """Runs the job whose id the message carries, or journals and runs the request that it carries."""

    Request = Doorbell
    throws = (CompletionFailed, InvalidRequest)

    def run(self, *args: Any, **kwargs: Any) -> Told:
        job_id = args[0] if args and not kwargs else self._journaled(args, kwargs)
        return self._concluded(job_id, process.engine().run(job_id))

    def _journaled(self, args: Any, kwargs: dict[str, Any]) -> str:
        """A request that was sent by name, from a program without this package: under its message's id."""
        client = default_client()
        request = CompletionRequest.checked(*args, **kwargs)
        job = new_job(client, request, None if request.idempotency_key else self.request.id, countdown_ms=0)
        create(client.redis, client.keys, job)
        return job.id

    def _concluded(self, job_id: str, verdict: Verdict) -> Told:
        match verdict:
            case Ended(State.COMPLETED, result):
                return Told(result)
            case Ended(State.FAILED, error):
                raise CompletionFailed(str(error["code"]))  # the provider's words may quote the prompt: not for logs
            case Ended():
                raise CompletionCancelled
            case LetGo(ring=True):
                self.ring(job_id, self.request.delivery_info["routing_key"])
        raise Ignore
