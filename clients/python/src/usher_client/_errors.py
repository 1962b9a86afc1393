"""What is raised when a call is refused or fails."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Type


class Fault(NamedTuple):
    """One member of what was sent that is at fault."""

    member: str
    code: str
    detail: str


class UsherError(Exception):
    """A call that was refused or failed.

    `code` is stable, `message` is for people. `cid` is the correlation id, which finds the call in the audit trail. `status` is the HTTP
    status; None if there was no answer. `faults` are the members at fault, `retry_after` the seconds to wait before another try.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: Optional[int],
        cid: Optional[str],
        faults: Sequence[Fault] = (),
        retry_after: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.cid = cid
        self.faults: List[Fault] = list(faults)
        self.retry_after = retry_after

    def __str__(self) -> str:
        faults = "".join(f" {fault.member}: {fault.detail}" for fault in self.faults)
        return f"{self.message}{faults} ({self.code}, status {self.status}, cid {self.cid})"


class Unauthenticated(UsherError):
    """401: the call does not prove who is calling."""


class Forbidden(UsherError):
    """403: the caller is known and may not do this."""


class NotFound(UsherError):
    """404: there is no such thing; told only to callers who may know."""


class Conflict(UsherError):
    """409, 412: what is asked for does not go with how things are."""


class Invalid(UsherError):
    """400, 413, 415, 422 and other refusals of what was sent."""


class TooManyAttempts(UsherError):
    """429: too many failed attempts; `retry_after` tells when another one makes sense."""


class ServerError(UsherError):
    """500 and above: a fault on the other side, or an answer that is none of usher's."""


class Unreachable(UsherError):
    """There was no answer: nobody listens, the connection broke, or the time was up. Whether the call was made is not known."""


def class_of(status: int) -> Type[UsherError]:
    """The class of an error by its HTTP status."""
    by_status = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 412: Conflict, 429: TooManyAttempts}
    if status in by_status:
        return by_status[status]
    return Invalid if 400 <= status < 500 else ServerError
