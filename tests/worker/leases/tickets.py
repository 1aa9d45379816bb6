"""Who asks for leases in the machine, each always as the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ticket:
    number: int

    @property
    def id(self) -> str:
        return f"ticket-{self.number}"

    @property
    def batch(self) -> bool:
        return self.number % 3 == 0

    @property
    def born_ms(self) -> int:
        return self.number * 7 % 10

    @property
    def channel(self) -> str:
        return f"channel-{self.number % 2}"

    @property
    def whose(self) -> dict[str, object]:
        return {"priority": "batch" if self.batch else "interactive", "born_ms": self.born_ms}


def ticket_of(lease_id: str) -> Ticket:
    return Ticket(int(lease_id.partition("-")[2]))
