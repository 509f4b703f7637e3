"""Server-Sent Events, from bytes to messages. Pure.

The format is the HTML standard's (section 9.2): lines of `field: value`, a blank line ends a
message, a line that begins with a colon is a comment. A message without data is none.
"""

from dataclasses import dataclass

__all__ = ["Message", "StreamParser"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. `id` is None where it brought none."""

    id: str | None
    type: str
    data: str


class StreamParser:
    """Makes messages of bytes as they come, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: str | None = None
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Message]:
        """Take bytes; returns the messages that they completed."""
        # lines end with LF here: other line breaks that Unicode knows stand inside of JSON
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = (self._line(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines)
        return [message for message in found if message is not None]

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            self._id = value
        elif field == "event":
            self._type = value
        elif field == "data":
            self._data.append(value)
        return None

    def _complete(self) -> Message | None:
        message = Message(id=self._id, type=self._type or "message", data="\n".join(self._data))
        is_empty = not self._data
        self._id, self._type, self._data = None, "", []
        return None if is_empty else message
