"""Posit Connect's users: `client.users` and `client.me`, on usher's native API.

For programs that are written against these calls and may be changed in one line. (Those that may not, go on using their own client.)
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Awaitable, Dict, List, Mapping, Optional, Sequence
from unicodedata import normalize

import httpx

from ._http import TIMEOUT, AsyncClosing, AsyncTransport, Closing, Request, Steps, Transport, authorization
from ._values import time_of, uuid_of

__all__ = ["AsyncClient", "AsyncUser", "AsyncUsers", "Client", "User", "Users"]

_USERS = "/api/v1/users"
_PAGE = "500"
_FEW = "10"
_UPDATES = ("email", "first_name", "last_name", "user_role", "username")
_CONDITIONS = ("account_status", "prefix", "user_role")


class BaseUser:
    """A user as the caller may see it. What the caller may not see, and what has no value, is None, or "" for a name or address."""

    KEYS = (
        "email",
        "username",
        "first_name",
        "last_name",
        "user_role",
        "created_time",
        "updated_time",
        "active_time",
        "confirmed",
        "locked",
        "guid",
    )

    email: str
    username: str
    first_name: str
    last_name: str
    user_role: str
    created_time: Optional[datetime]
    updated_time: Optional[datetime]
    active_time: Optional[datetime]
    confirmed: Optional[bool]
    locked: Optional[bool]
    guid: str

    def __init__(self, answer: Mapping[str, Any], is_oneself: bool) -> None:
        self._is_oneself = is_oneself
        self._take(answer)

    def _take(self, answer: Mapping[str, Any]) -> None:
        for name in ("email", "username", "first_name", "last_name", "user_role"):
            setattr(self, name, answer.get(name) or "")
        for name in ("created_time", "updated_time", "active_time"):
            setattr(self, name, time_of(answer.get(name)))
        self.confirmed = answer.get("confirmed")
        self.locked = answer.get("is_locked")
        self.guid = str(answer["user_id"])

    def to_dict(self) -> Dict[str, Any]:
        """The eleven keys and their values."""
        return {key: getattr(self, key) for key in self.KEYS}

    def __getitem__(self, key: str) -> Any:
        if key not in self.KEYS:
            raise KeyError(key)
        return getattr(self, key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseUser) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(username={self.username!r}, guid={self.guid!r})"

    def _lock(self, force: bool) -> Steps[None]:
        me = yield Request("GET", f"{_USERS}/me")
        if me.members().get("user_id") == self.guid and not force:
            raise RuntimeError("You cannot lock your own account. Set force=True to override this behavior.")
        locked = yield Request("POST", f"{_USERS}/{self.guid}/lock", body={"force": force})
        locked.good()
        self.locked = True

    def _unlock(self) -> Steps[None]:
        unlocked = yield Request("POST", f"{_USERS}/{self.guid}/unlock", body={})
        unlocked.good()
        self.locked = False

    def _update(self, attributes: Mapping[str, Optional[str]]) -> Steps[None]:
        body = _given(attributes, _UPDATES, "update")
        if not body:
            return
        # Whoever is no super-user changes its own account by this path alone.
        path = f"{_USERS}/me" if self._is_oneself else f"{_USERS}/{self.guid}"
        reply = yield Request("PATCH", path, body=body)
        answer = reply.members()
        known = {name: getattr(self, name) for name in ("created_time", "updated_time", "active_time", "confirmed", "locked")}
        self._take(answer)
        # The own view, which a regular user is answered, tells less than was known of it before.
        for name, value in known.items():
            if getattr(self, name) is None:
                setattr(self, name, value)


def _given(values: Mapping[str, Any], known: Sequence[str], what: str) -> Dict[str, Any]:
    for name in values:
        if name not in known:
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}")
    return {name: value for name, value in values.items() if value is not None}


def _create(attributes: Mapping[str, Any]) -> Steps[Dict[str, Any]]:
    known = (*_UPDATES, "password", "unique_id", "user_must_set_password")
    body = _given(attributes, known, "create")
    if "username" not in body:
        raise TypeError("create() missing the keyword argument 'username'")
    must_set = body.pop("user_must_set_password", False)
    if must_set and "password" in body:
        raise ValueError("password cannot be set when user_must_set_password is True")
    if must_set:
        body["password_must_change"] = True
    if "unique_id" in body:
        body["external_id"] = body.pop("unique_id")
    reply = yield Request("POST", _USERS, body=body)
    return reply.members()


def _folded(text: Optional[str]) -> str:
    return normalize("NFC", normalize("NFC", text or "").casefold())


def _find(conditions: Mapping[str, Optional[str]], is_one_enough: bool) -> Steps[List[Dict[str, Any]]]:
    given = _given(conditions, _CONDITIONS, "find")
    params = {name: str(value) for name, value in given.items() if value != ""}
    prefix = _folded(params.get("prefix"))
    params["limit"] = _FEW if is_one_enough else _PAGE
    found: List[Dict[str, Any]] = []
    while True:
        page = (yield Request("GET", _USERS, params=params)).members()
        # usher looks for the prefix in the login name and in the name to show as well; Connect does not.
        names = ("username", "first_name", "last_name")
        found.extend(user for user in page["items"] if any(_folded(user[name]).startswith(prefix) for name in names))
        if (found and is_one_enough) or page.get("next_cursor") is None:
            return found
        params = {**params, "cursor": page["next_cursor"]}


def _get(uid: str) -> Steps[Dict[str, Any]]:
    reply = yield Request("GET", f"{_USERS}/{uuid_of(uid)}")
    return reply.members()


def _me() -> Steps[Dict[str, Any]]:
    reply = yield Request("GET", f"{_USERS}/me")
    return reply.members()


def _count() -> Steps[int]:
    reply = yield Request("GET", f"{_USERS}/count")
    return int(reply.members()["total"])


class User(BaseUser):
    """A user."""

    def __init__(self, transport: Transport, answer: Mapping[str, Any], is_oneself: bool = False) -> None:
        super().__init__(answer, is_oneself)
        self._transport = transport

    def lock(self, force: bool = False) -> None:
        """Locks the account. One's own raises RuntimeError unless `force` is True."""
        self._transport.run(self._lock(force))

    def unlock(self) -> None:
        """Unlocks the account."""
        self._transport.run(self._unlock())

    def update(self, **attributes: Optional[str]) -> None:
        """Changes `email`, `username`, `first_name`, `last_name` or `user_role`; None leaves one as it is."""
        self._transport.run(self._update(attributes))


class AsyncUser(BaseUser):
    """A user, with calls to be awaited."""

    def __init__(self, transport: AsyncTransport, answer: Mapping[str, Any], is_oneself: bool = False) -> None:
        super().__init__(answer, is_oneself)
        self._transport = transport

    async def lock(self, force: bool = False) -> None:
        """Locks the account. One's own raises RuntimeError unless `force` is True."""
        await self._transport.run(self._lock(force))

    async def unlock(self) -> None:
        """Unlocks the account."""
        await self._transport.run(self._unlock())

    async def update(self, **attributes: Optional[str]) -> None:
        """Changes `email`, `username`, `first_name`, `last_name` or `user_role`; None leaves one as it is."""
        await self._transport.run(self._update(attributes))


class Users:
    """`client.users`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def count(self) -> int:
        """The number of all users."""
        return self._transport.run(_count())

    def create(self, **attributes: Any) -> User:
        """Creates a user: `username`, and perhaps `password` or `user_must_set_password`, `email`, `first_name`, `last_name`,
        `user_role`, `unique_id`."""
        return User(self._transport, self._transport.run(_create(attributes)))

    def find(self, **conditions: Optional[str]) -> List[User]:
        """All users that match `prefix`, `user_role` and `account_status`; `|` stands between alternatives."""
        return [User(self._transport, found) for found in self._transport.run(_find(conditions, False))]

    def find_one(self, **conditions: Optional[str]) -> Optional[User]:
        """The first user that `find` would find, or None."""
        found = self._transport.run(_find(conditions, True))
        return User(self._transport, found[0]) if found else None

    def get(self, uid: str) -> User:
        """The user of this guid."""
        return User(self._transport, self._transport.run(_get(uid)))


class AsyncUsers:
    """`client.users`, to be awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def count(self) -> int:
        """The number of all users."""
        return await self._transport.run(_count())

    async def create(self, **attributes: Any) -> AsyncUser:
        """Creates a user; see `Users.create`."""
        return AsyncUser(self._transport, await self._transport.run(_create(attributes)))

    async def find(self, **conditions: Optional[str]) -> List[AsyncUser]:
        """All users that match `prefix`, `user_role` and `account_status`; `|` stands between alternatives."""
        return [AsyncUser(self._transport, found) for found in await self._transport.run(_find(conditions, False))]

    async def find_one(self, **conditions: Optional[str]) -> Optional[AsyncUser]:
        """The first user that `find` would find, or None."""
        found = await self._transport.run(_find(conditions, True))
        return AsyncUser(self._transport, found[0]) if found else None

    async def get(self, uid: str) -> AsyncUser:
        """The user of this guid."""
        return AsyncUser(self._transport, await self._transport.run(_get(uid)))


class Client(Closing):
    """usher as Connect's programs know it. `api_key` is an API key or a session token."""

    def __init__(
        self, url: str, api_key: str, *, timeout: float = TIMEOUT, http: Optional[httpx.Client] = None
    ) -> None:
        self._transport = Transport(url, authorization(api_key), timeout, http)
        self.users = Users(self._transport)

    @property
    def me(self) -> User:
        """Who calls."""
        return User(self._transport, self._transport.run(_me()), is_oneself=True)


class AsyncClient(AsyncClosing):
    """The same, to be awaited."""

    def __init__(
        self, url: str, api_key: str, *, timeout: float = TIMEOUT, http: Optional[httpx.AsyncClient] = None
    ) -> None:
        self._transport = AsyncTransport(url, authorization(api_key), timeout, http)
        self.users = AsyncUsers(self._transport)

    @property
    def me(self) -> Awaitable[AsyncUser]:
        """Who calls: `await client.me`."""
        return self._find_me()

    async def _find_me(self) -> AsyncUser:
        return AsyncUser(self._transport, await self._transport.run(_me()), is_oneself=True)
