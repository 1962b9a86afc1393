"""Zato SSO's user API: `sso.user.get_current_user` and `sso.user.get_user_by_id`.

The calls go to usher's native API. Each comes through the application that it names, with that application's key; an application that may
set its users' addresses passes `remote_addr` on, and the correlation id is the one given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Dict, Mapping, Optional

import httpx

from ._http import TIMEOUT, AsyncClosing, AsyncTransport, Closing, Request, Steps, Transport
from ._values import time_of, uuid_of, zato_id

__all__ = ["SSO", "AsyncSSO", "AsyncUserAPI", "User", "UserAPI"]

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_IDS = {"user_id", "approval_status_mod_by", "locked_by", "approv_rej_by", "supervisor_id"}
_TIMES = {
    "approval_status_mod_time",
    "locked_time",
    "approv_rej_time",
    "password_expiry",
    "password_last_set",
    "sign_up_time",
}


@dataclass(frozen=True)
class User:
    """A user as the caller may see it.

    `user_id` and `username` are always there. What the caller may not see, and what has no value, reads as None; `to_dict` tells the two
    apart. `others` are attributes that usher has beside those of Zato SSO.
    """

    user_id: str
    username: str

    # Whoever one is, one sees of oneself:
    email: Optional[str] = None
    display_name: Optional[str] = None
    first_name: Optional[str] = None
    middle_name: Optional[str] = None
    last_name: Optional[str] = None
    is_totp_enabled: Optional[bool] = None
    totp_key: Optional[str] = field(default=None, repr=False)
    totp_label: Optional[str] = None

    # Super-users see of anyone:
    is_active: Optional[bool] = None
    is_internal: Optional[bool] = None
    is_super_user: Optional[bool] = None
    is_locked: Optional[bool] = None
    is_approval_needed: Optional[bool] = None
    approval_status: Optional[str] = None
    approval_status_mod_by: Optional[str] = None
    approval_status_mod_time: Optional[datetime] = None
    locked_time: Optional[datetime] = None
    creation_ctx: Optional[Mapping[str, Any]] = None
    locked_by: Optional[str] = None
    approv_rej_time: Optional[datetime] = None
    approv_rej_by: Optional[str] = None
    password_expiry: Optional[datetime] = None
    password_is_set: Optional[bool] = None
    password_must_change: Optional[bool] = None
    password_last_set: Optional[datetime] = None
    sign_up_status: Optional[str] = None
    sign_up_time: Optional[datetime] = None

    others: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _told: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> User:
        """From the native view."""
        spelt = {name: zato_id(value) if name in _IDS and value else value for name, value in answer.items()}
        known = {f.name for f in fields(cls)} - {"others", "_told"}
        values: Dict[str, Any] = {n: time_of(v) if n in _TIMES else v for n, v in spelt.items() if n in known}
        order = [f.name for f in fields(cls) if f.name in spelt]
        others = {name: value for name, value in spelt.items() if name not in known}
        told = {**{name: spelt[name] for name in order}, **others}
        return cls(**values, others=others, _told=told)

    def to_dict(self) -> Dict[str, Any]:
        """Everything that the caller may see, as values that JSON has; what it may not see is absent."""
        return dict(self._told)


def _request(path: str, cid: str, ust: str, app: str, address: Optional[str], keys: Mapping[str, str]) -> Request:
    if not _CORRELATION_ID.fullmatch(cid):
        raise ValueError("a cid is 1 to 64 of A-Z a-z 0-9 . _ : -")
    headers = {"X-Correlation-ID": cid, "Authorization": f"Bearer {ust}", "X-Current-App": app}
    if app in keys:
        headers["X-Application-Key"] = keys[app]
    if address:
        headers["X-User-Address"] = address
    return Request("GET", path, headers=headers)


def _user(request: Request) -> Steps[User]:
    reply = yield request
    return User.of(reply.members())


class _Calls:
    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def _current(self, cid: str, ust: str, app: str, address: Optional[str]) -> Steps[User]:
        return _user(_request("/api/v1/users/me", cid, ust, app, address, self._keys))

    def _by_id(self, cid: str, user_id: str, ust: str, app: str, address: Optional[str]) -> Steps[User]:
        return _user(_request(f"/api/v1/users/{uuid_of(user_id)}", cid, ust, app, address, self._keys))


class UserAPI(_Calls):
    """`sso.user`."""

    def __init__(self, transport: Transport, keys: Mapping[str, str]) -> None:
        super().__init__(keys)
        self._transport = transport

    def get_current_user(self, cid: str, current_ust: str, current_app: str, remote_addr: Optional[str] = None) -> User:
        """The user whose session token this is."""
        return self._transport.run(self._current(cid, current_ust, current_app, remote_addr))

    def get_user_by_id(
        self, cid: str, user_id: str, current_ust: str, current_app: str, remote_addr: Optional[str] = None
    ) -> User:
        """The user of this id, in any spelling; the session token must be a super-user's."""
        return self._transport.run(self._by_id(cid, user_id, current_ust, current_app, remote_addr))


class AsyncUserAPI(_Calls):
    """`sso.user`, to be awaited."""

    def __init__(self, transport: AsyncTransport, keys: Mapping[str, str]) -> None:
        super().__init__(keys)
        self._transport = transport

    async def get_current_user(
        self, cid: str, current_ust: str, current_app: str, remote_addr: Optional[str] = None
    ) -> User:
        """The user whose session token this is."""
        return await self._transport.run(self._current(cid, current_ust, current_app, remote_addr))

    async def get_user_by_id(
        self, cid: str, user_id: str, current_ust: str, current_app: str, remote_addr: Optional[str] = None
    ) -> User:
        """The user of this id, in any spelling; the session token must be a super-user's."""
        return await self._transport.run(self._by_id(cid, user_id, current_ust, current_app, remote_addr))


class SSO(Closing):
    """usher as Zato SSO's services know it. `keys` are the keys of the applications that calls come through, by name."""

    def __init__(
        self,
        base_url: str,
        *,
        keys: Optional[Mapping[str, str]] = None,
        timeout: float = TIMEOUT,
        http: Optional[httpx.Client] = None,
    ) -> None:
        self._transport = Transport(base_url, {}, timeout, http)
        self.user = UserAPI(self._transport, keys or {})


class AsyncSSO(AsyncClosing):
    """The same, to be awaited."""

    def __init__(
        self,
        base_url: str,
        *,
        keys: Optional[Mapping[str, str]] = None,
        timeout: float = TIMEOUT,
        http: Optional[httpx.AsyncClient] = None,
    ) -> None:
        self._transport = AsyncTransport(base_url, {}, timeout, http)
        self.user = AsyncUserAPI(self._transport, keys or {})
