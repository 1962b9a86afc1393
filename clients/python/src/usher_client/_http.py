"""From calls to requests and back, for the synchronous and the asynchronous clients alike.

A call is a generator (`Steps`): it yields the requests that it needs, is sent the reply to each, and returns its result. What drives it,
a `Transport` or an `AsyncTransport`, knows nothing of what it does; so every call is written once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Dict, Generator, List, Mapping, Optional, Type, TypeVar, cast
from urllib.parse import quote

import httpx

from ._errors import Fault, ServerError, Unreachable, UsherError, class_of

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds that a request may take."""


@dataclass(frozen=True)
class Request:
    """A request that a call needs."""

    method: str
    path: str
    """Below the base URL, percent-encoded."""
    params: Mapping[str, str] = field(default_factory=dict)
    body: Optional[Mapping[str, Any]] = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Reply:
    """What came back for a request."""

    status: int
    headers: Mapping[str, str]
    json: Any
    """The body; None if it is no JSON."""

    def error(self, kind: Optional[Type[UsherError]] = None) -> UsherError:
        """This reply as an error."""
        said = self.json if isinstance(self.json, dict) else {}
        code = said.get("code")
        cid = said.get("cid") or self.headers.get("x-correlation-id")
        retry_after = self.headers.get("retry-after", "")
        if not isinstance(code, str):
            message = f"The answer, of status {self.status}, is none of usher's."
            return ServerError(message, code="no_answer_of_usher", status=self.status, cid=cid)
        listed = said.get("errors")
        faults = [
            Fault(str(f.get("member") or str(f.get("pointer", "")).lstrip("/")), str(f.get("code")), str(f.get("detail")))
            for f in (listed if isinstance(listed, list) else [])
            if isinstance(f, dict)
        ]
        return (kind or class_of(self.status))(
            str(said.get("detail") or said.get("message") or said.get("title") or code),
            code=code,
            status=self.status,
            cid=cid,
            faults=faults,
            retry_after=int(retry_after) if retry_after.isdigit() else None,
        )

    @property
    def is_good(self) -> bool:
        """Whether the call was done as asked."""
        return 200 <= self.status < 300

    def good(self) -> Reply:
        """This reply, if the call was done as asked; otherwise its error is raised."""
        if not self.is_good:
            raise self.error()
        return self

    def members(self) -> Dict[str, Any]:
        """The JSON object of a good reply."""
        return cast("Dict[str, Any]", self.good()._of(dict))

    def items(self) -> List[Any]:
        """The JSON list of a good reply."""
        return cast("List[Any]", self.good()._of(list))

    def _of(self, kind: Type[Any]) -> Any:
        if isinstance(self.json, kind):
            return self.json
        cid = self.headers.get("x-correlation-id")
        raise ServerError("The answer is of another form than expected.", code="no_answer_of_usher", status=self.status, cid=cid)


Steps = Generator[Request, Reply, T]
"""A call: it yields requests, is sent their replies, and returns its result."""


def segment(text: str) -> str:
    """A text as a segment of a path."""
    # A segment of dots alone would be taken for a step up the path.
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)


def authorization(token: str) -> Dict[str, str]:
    """The header that a session token or an API key is sent in."""
    return {"Authorization": f"Bearer {token}" if token.startswith("ust_") else f"Key {token}"}


class _Base:
    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers)

    def _arguments(self, request: Request) -> Dict[str, Any]:
        arguments: Dict[str, Any] = {
            "method": request.method,
            "url": self._base_url + request.path,
            "headers": {**self._headers, **request.headers},
        }
        # An empty list of parameters would take away those that stand in the path.
        if request.params:
            arguments["params"] = dict(request.params)
        if request.body is not None:
            arguments["json"] = dict(request.body)
        return arguments

    @staticmethod
    def _reply(response: httpx.Response) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            return Reply(response.status_code, headers, response.json())
        except ValueError:
            return Reply(response.status_code, headers, None)

    def _unreachable(self, request: Request, error: httpx.TransportError) -> Unreachable:
        cid = {**self._headers, **request.headers}.get("X-Correlation-ID")
        message = f"There was no answer: {type(error).__name__}: {error}"
        return Unreachable(message, code="unreachable", status=None, cid=cid)


class Transport(_Base):
    """Makes calls one after the other."""

    def __init__(self, base_url: str, headers: Mapping[str, str], timeout: float, http: Optional[httpx.Client]) -> None:
        super().__init__(base_url, headers)
        self._http = http or httpx.Client(timeout=timeout)
        self._is_own = http is None

    def run(self, steps: Steps[T]) -> T:
        """Makes a call."""
        try:
            request = next(steps)
            while True:
                request = steps.send(self._send(request))
        except StopIteration as done:
            return cast(T, done.value)

    def _send(self, request: Request) -> Reply:
        try:
            return self._reply(self._http.request(**self._arguments(request)))
        except httpx.TransportError as error:
            raise self._unreachable(request, error) from error

    def close(self) -> None:
        """Closes the connections, unless they are the caller's own."""
        if self._is_own:
            self._http.close()


class AsyncTransport(_Base):
    """Makes calls that wait without blocking."""

    def __init__(self, base_url: str, headers: Mapping[str, str], timeout: float, http: Optional[httpx.AsyncClient]) -> None:
        super().__init__(base_url, headers)
        self._http = http or httpx.AsyncClient(timeout=timeout)
        self._is_own = http is None

    async def run(self, steps: Steps[T]) -> T:
        """Makes a call."""
        try:
            request = next(steps)
            while True:
                request = steps.send(await self._send(request))
        except StopIteration as done:
            return cast(T, done.value)

    async def _send(self, request: Request) -> Reply:
        try:
            return self._reply(await self._http.request(**self._arguments(request)))
        except httpx.TransportError as error:
            raise self._unreachable(request, error) from error

    async def close(self) -> None:
        """Closes the connections, unless they are the caller's own."""
        if self._is_own:
            await self._http.aclose()


Self = TypeVar("Self", bound="Closing")
AsyncSelf = TypeVar("AsyncSelf", bound="AsyncClosing")


class Closing:
    """Something with connections, to be closed, or used in a `with` statement."""

    _transport: Transport

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        self.close()


class AsyncClosing:
    """The same, in an `async with` statement."""

    _transport: AsyncTransport

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self: AsyncSelf) -> AsyncSelf:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], traceback: Optional[TracebackType]
    ) -> None:
        await self.close()
