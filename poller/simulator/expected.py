"""What has become of a send, counted message by message: what a reader of the API must find."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poller.simulator.messages import MessageView

__all__ = ["ExpectedCounts", "expected_counts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCounts:
    """The messages and errors of an operation at one instant.

    `statuses` counts the messages that came to be; `channels` the same, for each channel of the
    sender; `receipts` their recipients. `codes` counts the operation's errors; `contexts` says of
    which messages (ids), or of which recipients that got none (`to[3]`).
    """

    operation_id: str
    kind: str
    statuses: Mapping[str, int]
    channels: Mapping[str, Mapping[str, int]]
    receipts: Mapping[str, int]
    codes: Mapping[int, int]
    contexts: Mapping[int, Sequence[str]]

    def document(self) -> dict[str, Any]:
        """Return it as JSON, its members in camelCase."""
        return {
            "operationId": self.operation_id,
            "kind": self.kind,
            "statuses": self.statuses,
            "channels": self.channels,
            "receipts": self.receipts,
            "codes": {str(code): count for code, count in self.codes.items()},
            "contexts": {str(code): contexts for code, contexts in self.contexts.items()},
        }


def expected_counts(view: MessageView) -> ExpectedCounts:
    """Count an operation's messages, one by one."""
    statuses: Counter[str] = Counter()
    channels: defaultdict[str, Counter[str]] = defaultdict(Counter)
    receipts: Counter[str] = Counter()
    contexts: defaultdict[int, list[str]] = defaultdict(list)
    for index in range(view.total):
        if view.exists(index):
            status = view.status(index)
            statuses[status] += 1
            channels[view.channel(index)][status] += 1
            receipts.update(
                view.receipt(index, number)["status"] for number in range(view.recipients(index))
            )
        if error := view.error(index):
            contexts[error["code"]].append(error["context"])
    return ExpectedCounts(
        operation_id=view.operation.id,
        kind=view.operation.kind.name,
        statuses=dict(statuses),
        channels={channel: dict(counts) for channel, counts in channels.items()},
        receipts=dict(receipts),
        codes={code: len(each) for code, each in sorted(contexts.items())},
        contexts=dict(sorted(contexts.items())),
    )
