"""The ECM's user administration: `ecm.security`, on usher's dialect below `/ecm/security`.

Fields that the caller may not see have the value that the ECM's own client gives an absent one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Type, Union
from urllib.parse import urlencode

import httpx

from ._errors import UsherError
from ._http import (
    TIMEOUT,
    AsyncClosing,
    AsyncTransport,
    Closing,
    Reply,
    Request,
    Steps,
    Transport,
    authorization,
    segment,
)
from ._values import naive_utc, time_of

__all__ = [
    "ECM",
    "AccountCheck",
    "AsyncECM",
    "AsyncSecurity",
    "ECMAccessDenied",
    "ECMError",
    "ECMGroup",
    "ECMMissingArgument",
    "ECMNotFound",
    "ECMUser",
    "ECMUserAttributes",
    "ECMWrongState",
    "Security",
    "SystemRole",
]

_SECURITY = "/ecm/security"


class ECMError(UsherError):
    """A refusal or failure of the kind `general`."""


class ECMNotFound(ECMError):
    """There is no such user or group."""


class ECMWrongState(ECMError):
    """What is asked for does not go with how things are: a name that is taken, a group with members, the last super-user."""


class ECMAccessDenied(ECMError):
    """The caller is not known, or may not do this."""


class ECMMissingArgument(ECMError):
    """An argument is missing, unknown or does not fit; `faults` names it."""


_KINDS: Dict[str, Type[ECMError]] = {
    "general": ECMError,
    "not_found": ECMNotFound,
    "wrong_state": ECMWrongState,
    "access_denied": ECMAccessDenied,
    "missing_argument": ECMMissingArgument,
}


def _error(reply: Reply) -> UsherError:
    kind = reply.json.get("error") if isinstance(reply.json, dict) else None
    return reply.error(_KINDS.get(str(kind)))


def _good(reply: Reply) -> Reply:
    if not reply.is_good:
        raise _error(reply)
    return reply


def _is_absent(reply: Reply) -> bool:
    """Whether there is no such thing; a path that is not there at all is answered otherwise."""
    return reply.status == 404 and isinstance(reply.json, dict) and reply.json.get("error") == "not_found"


@dataclass(frozen=True)
class ECMUser:
    """A user in a list. `remark`, `valid_from`, `valid_to` and `groups` are there with `extended_info` alone. Times have no zone and are UTC."""

    id: int = -1
    username: str = ""
    login_name: str = ""
    display_name: str = ""
    email: str = ""
    guid: str = ""
    profile_id: int = -1
    locked: bool = False
    remark: str = ""
    valid_from: Optional[datetime] = None
    valid_to: Optional[datetime] = None
    groups: List[str] = field(default_factory=list)
    locked_cause: int = 0
    """0 not locked, 1 by an administrator, 2 by failed sign-ins."""


@dataclass(frozen=True)
class ECMUserAttributes:
    """A user in detail. `valid_from` and `valid_to` have no zone and are UTC; the other times have one."""

    id: int = -1
    username: str = ""
    login_name: str = ""
    display_name: str = ""
    email: str = ""
    guid: str = ""
    profile_id: int = -1
    locked: bool = False
    remark: str = ""
    account_type: int = 0
    flags: int = 0
    lang_id: int = 0
    login_count: int = 0
    login_station: str = ""
    login_time: Optional[datetime] = None
    last_modified: Optional[datetime] = None
    mfa_flag: int = 0
    never_expire: bool = False
    change_pwd: bool = False
    pwd_changed: Optional[datetime] = None
    server_id: int = 0
    station: str = ""
    supervisor_id: int = -1
    valid_from: Optional[datetime] = None
    valid_to: Optional[datetime] = None
    locked_cause: int = 0
    """0 not locked, 1 by an administrator, 2 by failed sign-ins."""
    password_never_expires: bool = False
    failed_login_count: int = 0
    """Consecutive failed sign-ins."""


@dataclass
class ECMGroup:
    """A group. It can be changed and handed to `update_group`."""

    id: int = -1
    name: str = ""
    guid: str = ""
    profile_user_id: int = -1
    description: str = ""


class SystemRole(NamedTuple):
    """A system role, in the ECM's numbers."""

    id: int
    name: str


class AccountCheck(NamedTuple):
    """What a check of a name and a password found.

    `status`: 0 login possible, 2 unknown, 3 just locked, 4 wrong password, 5 already locked or barred for the `reason` given.
    `password_expires_in_days`: -1 not within the period, 0 expired or to be changed.
    """

    status: int
    login_method: Optional[str]
    password_expires_in_days: int
    reason: Optional[str]


_TIMES = ("login_time", "last_modified", "pwd_changed", "valid_from", "valid_to")


def _taken(kind: Type[Any], answer: Any) -> Dict[str, Any]:
    known = kind.__dataclass_fields__
    taken = {name: value for name, value in dict(answer).items() if name in known}
    return {name: time_of(value) if name in _TIMES else value for name, value in taken.items()}


def _user(answer: Any) -> ECMUser:
    return ECMUser(**_taken(ECMUser, answer))


def _detail(answer: Any) -> ECMUserAttributes:
    return ECMUserAttributes(**_taken(ECMUserAttributes, answer))


def _group(answer: Any) -> ECMGroup:
    return ECMGroup(**_taken(ECMGroup, answer))


def _all(path: str) -> Steps[List[Any]]:
    """A list, in as many answers as it comes in."""
    items: List[Any] = []
    while True:
        reply = _good((yield Request("GET", path)))
        items.extend(reply.items())
        link = reply.headers.get("link", "")
        target, _, rest = link.partition(">")
        if 'rel="next"' not in rest or not target.startswith(f"<{_SECURITY}/"):
            return items
        path = target[1:]


def _moment(value: Optional[datetime]) -> Optional[str]:
    if value is None:
        return None
    # The least of all times takes a limit away.
    return "" if value.replace(tzinfo=None) == datetime.min else naive_utc(value)


def _number(value: Optional[int], name: str) -> Optional[int]:
    # Newer clients of the ECM say by True that someone is a supervisor; here it would be the user of number 1.
    if isinstance(value, bool):
        raise TypeError(f"{name} is the number of a user, or -1")
    return value


def _body(values: Mapping[str, Any]) -> Dict[str, Any]:
    body = {name: value for name, value in values.items() if value is not None}
    if "supervisor" in body:
        body["supervisor_id"] = _number(body.pop("supervisor"), "supervisor")
    for name in ("valid_from", "valid_to"):
        if name in body:
            body[name] = _moment(body[name])
    return body


class _Calls:
    """Every call, as steps."""

    @staticmethod
    def _users(extended_info: bool) -> Steps[List[ECMUser]]:
        query = urlencode({"extended_info": str(extended_info).lower()})
        answers = yield from _all(f"{_SECURITY}/users?{query}")
        return [_user(answer) for answer in answers]

    @staticmethod
    def _user(username: str) -> Steps[Optional[ECMUserAttributes]]:
        reply = yield Request("GET", f"{_SECURITY}/user/{segment(username)}")
        return None if _is_absent(reply) else _detail(_good(reply).members())

    @staticmethod
    def _user_groups(user_guid: str) -> Steps[List[ECMGroup]]:
        answers = yield from _all(f"{_SECURITY}/user_groups/{segment(user_guid)}")
        return [_group(answer) for answer in answers]

    @staticmethod
    def _groups() -> Steps[List[ECMGroup]]:
        answers = yield from _all(f"{_SECURITY}/groups")
        return [_group(answer) for answer in answers]

    @staticmethod
    def _group(name: str) -> Steps[Optional[ECMGroup]]:
        reply = yield Request("GET", f"{_SECURITY}/group/{segment(name)}")
        return None if _is_absent(reply) else _group(_good(reply).members())

    @staticmethod
    def _group_members(name: str) -> Steps[List[ECMUser]]:
        answers = yield from _all(f"{_SECURITY}/group_members/{segment(name)}")
        return [_user(answer) for answer in answers]

    @staticmethod
    def _roles(user_guid: str) -> Steps[List[SystemRole]]:
        answers = yield from _all(f"{_SECURITY}/roles" + (f"/{segment(user_guid)}" if user_guid else ""))
        return [SystemRole(int(answer["id"]), str(answer["name"])) for answer in answers]

    @staticmethod
    def _create_user(values: Mapping[str, Any]) -> Steps[ECMUserAttributes]:
        reply = yield Request("POST", f"{_SECURITY}/users", body=_body(values))
        return _detail(_good(reply).members())

    @staticmethod
    def _update_user(user_guid: str, values: Mapping[str, Any]) -> Steps[ECMUserAttributes]:
        reply = yield Request("PATCH", f"{_SECURITY}/user/{segment(user_guid)}", body=_body(values))
        return _detail(_good(reply).members())

    @staticmethod
    def _delete_user(user_guid: str, params: Mapping[str, Optional[str]]) -> Steps[None]:
        given = {name: value for name, value in params.items() if value}
        _good((yield Request("DELETE", f"{_SECURITY}/user/{segment(user_guid)}", params=given)))

    @staticmethod
    def _member(method: str, user_guid: str, group_guid: Optional[str]) -> Steps[None]:
        group = "" if group_guid is None else f"/{segment(group_guid)}"
        _good((yield Request(method, f"{_SECURITY}/user_groups/{segment(user_guid)}{group}")))

    @staticmethod
    def _create_group(name: str, profile_id: int, description: str) -> Steps[ECMGroup]:
        body = {"name": name, "profile_id": profile_id, "description": description}
        reply = yield Request("POST", f"{_SECURITY}/groups", body=body)
        return _group(_good(reply).members())

    @staticmethod
    def _update_group(group: ECMGroup) -> Steps[ECMGroup]:
        body = {"name": group.name, "profile_id": group.profile_user_id, "description": group.description}
        reply = yield Request("PATCH", f"{_SECURITY}/group/{segment(group.guid)}", body=body)
        return _group(_good(reply).members())

    @classmethod
    def _guid(cls, group: Union[ECMGroup, str]) -> Steps[str]:
        if isinstance(group, ECMGroup):
            return group.guid
        reply = yield Request("GET", f"{_SECURITY}/group/{segment(group)}")
        return str(_good(reply).members()["guid"])

    @classmethod
    def _delete_group(cls, group: Union[ECMGroup, str]) -> Steps[None]:
        guid = yield from cls._guid(group)
        _good((yield Request("DELETE", f"{_SECURITY}/group/{segment(guid)}")))

    @classmethod
    def _empty_group(cls, group: Union[ECMGroup, str]) -> Steps[None]:
        guid = yield from cls._guid(group)
        _good((yield Request("POST", f"{_SECURITY}/group/{segment(guid)}/empty", body={})))

    @staticmethod
    def _check_user_account(username: str, password: str) -> Steps[AccountCheck]:
        body = {"username": username, "password": password}
        answer = _good((yield Request("POST", f"{_SECURITY}/check_user_account", body=body))).members()
        days = answer["password_expires_in_days"]
        return AccountCheck(int(answer["status"]), answer["login_method"], int(days), answer["reason"])

    @staticmethod
    def _check_password_complexity(password: str) -> Steps[bool]:
        reply = yield Request("POST", f"{_SECURITY}/check_password_complexity", body={"password": password})
        return bool(_good(reply).members()["is_complex"])


def _arguments(values: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments of a call, without the object that it is a method of."""
    return {name: value for name, value in values.items() if name not in ("self", "user_guid")}


class Security(_Calls):
    """`ecm.security`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def users(self, *, extended_info: bool = False) -> List[ECMUser]:
        """All users; with `extended_info` also their remarks, validity and groups."""
        return self._transport.run(self._users(extended_info))

    def user(self, username: str) -> Optional[ECMUserAttributes]:
        """The user of this username, or None."""
        return self._transport.run(self._user(username))

    def user_groups(self, user_guid: str) -> List[ECMGroup]:
        """The groups that a user is in."""
        return self._transport.run(self._user_groups(user_guid))

    def groups(self) -> List[ECMGroup]:
        """All groups."""
        return self._transport.run(self._groups())

    def group(self, name: str) -> Optional[ECMGroup]:
        """The group of this name, or None."""
        return self._transport.run(self._group(name))

    def group_members(self, group_name: str) -> List[ECMUser]:
        """The members of a group; none, if there is no such group."""
        return self._transport.run(self._group_members(group_name))

    def roles(self, user_guid: str = "") -> List[SystemRole]:
        """The system roles of a user; one's own without a guid."""
        return self._transport.run(self._roles(user_guid))

    def create_user(
        self,
        username: str,
        *,
        login_name: Optional[str] = None,
        display_name: Optional[str] = None,
        email: Optional[str] = None,
        remark: Optional[str] = None,
        password: Optional[str] = None,
        profile_id: int = -1,
        locked: bool = False,
        supervisor: Optional[int] = None,
        account_type: Optional[int] = None,
        flags: Optional[int] = None,
        lang_id: Optional[int] = None,
        server_id: Optional[int] = None,
        station: Optional[str] = None,
        valid_from: Optional[datetime] = None,
        valid_to: Optional[datetime] = None,
        change_pwd: bool = False,
        never_expire: bool = False,
    ) -> ECMUserAttributes:
        """Creates a user."""
        return self._transport.run(self._create_user(_arguments(locals())))

    def update_user(
        self,
        user_guid: str,
        *,
        username: Optional[str] = None,
        login_name: Optional[str] = None,
        display_name: Optional[str] = None,
        email: Optional[str] = None,
        remark: Optional[str] = None,
        password: Optional[str] = None,
        profile_id: Optional[int] = None,
        locked: Optional[bool] = None,
        supervisor: Optional[int] = None,
        account_type: Optional[int] = None,
        flags: Optional[int] = None,
        lang_id: Optional[int] = None,
        server_id: Optional[int] = None,
        station: Optional[str] = None,
        valid_from: Optional[datetime] = None,
        valid_to: Optional[datetime] = None,
        change_pwd: Optional[bool] = None,
        never_expire: Optional[bool] = None,
    ) -> ECMUserAttributes:
        """Changes what is given; `datetime.min` takes a limit of validity away."""
        return self._transport.run(self._update_user(user_guid, _arguments(locals())))

    def delete_user(
        self,
        user_guid: str,
        *,
        target_user_guid: Optional[str] = None,
        forward_portfolios: bool = False,
        forward_mails: bool = False,
    ) -> None:
        """Deletes a user. There is nothing to forward, so asking for it is refused."""
        flags = {"forward_portfolios": "true" if forward_portfolios else None, "forward_mails": "true" if forward_mails else None}
        self._transport.run(self._delete_user(user_guid, {"target_user_guid": target_user_guid, **flags}))

    def add_user_to_group(self, user_guid: str, group_guid: str) -> None:
        """Adds a user to a group."""
        self._transport.run(self._member("PUT", user_guid, group_guid))

    def remove_user_from_group(self, user_guid: str, group_guid: str) -> None:
        """Takes a user out of a group."""
        self._transport.run(self._member("DELETE", user_guid, group_guid))

    def remove_user_from_all_groups(self, user_guid: str) -> None:
        """Takes a user out of every group."""
        self._transport.run(self._member("DELETE", user_guid, None))

    def create_group(self, name: str, *, profile_id: int = -1, description: str = "") -> ECMGroup:
        """Makes a group."""
        return self._transport.run(self._create_group(name, profile_id, description))

    def update_group(self, group: ECMGroup) -> ECMGroup:
        """Makes the group of this guid as `group` says."""
        return self._transport.run(self._update_group(group))

    def delete_group(self, group: Union[ECMGroup, str]) -> None:
        """Removes a group, or the one of this name; it must have no members."""
        self._transport.run(self._delete_group(group))

    def empty_group(self, group: Union[ECMGroup, str]) -> None:
        """Takes everyone out of a group."""
        self._transport.run(self._empty_group(group))

    def check_user_account(self, username: str, password: str) -> AccountCheck:
        """Whether someone could sign in so; for super-users, and for applications with their key."""
        return self._transport.run(self._check_user_account(username, password))

    def check_password_complexity(self, password: str) -> bool:
        """Whether a password would be accepted for one's own account."""
        return self._transport.run(self._check_password_complexity(password))


class AsyncSecurity(_Calls):
    """`ecm.security`, to be awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def users(self, *, extended_info: bool = False) -> List[ECMUser]:
        """All users; with `extended_info` also their remarks, validity and groups."""
        return await self._transport.run(self._users(extended_info))

    async def user(self, username: str) -> Optional[ECMUserAttributes]:
        """The user of this username, or None."""
        return await self._transport.run(self._user(username))

    async def user_groups(self, user_guid: str) -> List[ECMGroup]:
        """The groups that a user is in."""
        return await self._transport.run(self._user_groups(user_guid))

    async def groups(self) -> List[ECMGroup]:
        """All groups."""
        return await self._transport.run(self._groups())

    async def group(self, name: str) -> Optional[ECMGroup]:
        """The group of this name, or None."""
        return await self._transport.run(self._group(name))

    async def group_members(self, group_name: str) -> List[ECMUser]:
        """The members of a group; none, if there is no such group."""
        return await self._transport.run(self._group_members(group_name))

    async def roles(self, user_guid: str = "") -> List[SystemRole]:
        """The system roles of a user; one's own without a guid."""
        return await self._transport.run(self._roles(user_guid))

    async def create_user(
        self,
        username: str,
        *,
        login_name: Optional[str] = None,
        display_name: Optional[str] = None,
        email: Optional[str] = None,
        remark: Optional[str] = None,
        password: Optional[str] = None,
        profile_id: int = -1,
        locked: bool = False,
        supervisor: Optional[int] = None,
        account_type: Optional[int] = None,
        flags: Optional[int] = None,
        lang_id: Optional[int] = None,
        server_id: Optional[int] = None,
        station: Optional[str] = None,
        valid_from: Optional[datetime] = None,
        valid_to: Optional[datetime] = None,
        change_pwd: bool = False,
        never_expire: bool = False,
    ) -> ECMUserAttributes:
        """Creates a user."""
        return await self._transport.run(self._create_user(_arguments(locals())))

    async def update_user(
        self,
        user_guid: str,
        *,
        username: Optional[str] = None,
        login_name: Optional[str] = None,
        display_name: Optional[str] = None,
        email: Optional[str] = None,
        remark: Optional[str] = None,
        password: Optional[str] = None,
        profile_id: Optional[int] = None,
        locked: Optional[bool] = None,
        supervisor: Optional[int] = None,
        account_type: Optional[int] = None,
        flags: Optional[int] = None,
        lang_id: Optional[int] = None,
        server_id: Optional[int] = None,
        station: Optional[str] = None,
        valid_from: Optional[datetime] = None,
        valid_to: Optional[datetime] = None,
        change_pwd: Optional[bool] = None,
        never_expire: Optional[bool] = None,
    ) -> ECMUserAttributes:
        """Changes what is given; `datetime.min` takes a limit of validity away."""
        return await self._transport.run(self._update_user(user_guid, _arguments(locals())))

    async def delete_user(
        self,
        user_guid: str,
        *,
        target_user_guid: Optional[str] = None,
        forward_portfolios: bool = False,
        forward_mails: bool = False,
    ) -> None:
        """Deletes a user. There is nothing to forward, so asking for it is refused."""
        flags = {"forward_portfolios": "true" if forward_portfolios else None, "forward_mails": "true" if forward_mails else None}
        await self._transport.run(self._delete_user(user_guid, {"target_user_guid": target_user_guid, **flags}))

    async def add_user_to_group(self, user_guid: str, group_guid: str) -> None:
        """Adds a user to a group."""
        await self._transport.run(self._member("PUT", user_guid, group_guid))

    async def remove_user_from_group(self, user_guid: str, group_guid: str) -> None:
        """Takes a user out of a group."""
        await self._transport.run(self._member("DELETE", user_guid, group_guid))

    async def remove_user_from_all_groups(self, user_guid: str) -> None:
        """Takes a user out of every group."""
        await self._transport.run(self._member("DELETE", user_guid, None))

    async def create_group(self, name: str, *, profile_id: int = -1, description: str = "") -> ECMGroup:
        """Makes a group."""
        return await self._transport.run(self._create_group(name, profile_id, description))

    async def update_group(self, group: ECMGroup) -> ECMGroup:
        """Makes the group of this guid as `group` says."""
        return await self._transport.run(self._update_group(group))

    async def delete_group(self, group: Union[ECMGroup, str]) -> None:
        """Removes a group, or the one of this name; it must have no members."""
        await self._transport.run(self._delete_group(group))

    async def empty_group(self, group: Union[ECMGroup, str]) -> None:
        """Takes everyone out of a group."""
        await self._transport.run(self._empty_group(group))

    async def check_user_account(self, username: str, password: str) -> AccountCheck:
        """Whether someone could sign in so; for super-users, and for applications with their key."""
        return await self._transport.run(self._check_user_account(username, password))

    async def check_password_complexity(self, password: str) -> bool:
        """Whether a password would be accepted for one's own account."""
        return await self._transport.run(self._check_password_complexity(password))


def _headers(token: Optional[str], application: Optional[str], application_key: Optional[str]) -> Dict[str, str]:
    headers = {} if token is None else authorization(token)
    if application is not None:
        headers["X-Current-App"] = application
    if application_key is not None:
        headers["X-Application-Key"] = application_key
    return headers


class ECM(Closing):
    """usher as the ECM's programs know it. `token` is a session token or an API key; an application may call with its own key instead."""

    def __init__(
        self,
        base_url: str,
        token: Optional[str] = None,
        *,
        application: Optional[str] = None,
        application_key: Optional[str] = None,
        timeout: float = TIMEOUT,
        http: Optional[httpx.Client] = None,
    ) -> None:
        self._transport = Transport(base_url, _headers(token, application, application_key), timeout, http)
        self.security = Security(self._transport)


class AsyncECM(AsyncClosing):
    """The same, to be awaited."""

    def __init__(
        self,
        base_url: str,
        token: Optional[str] = None,
        *,
        application: Optional[str] = None,
        application_key: Optional[str] = None,
        timeout: float = TIMEOUT,
        http: Optional[httpx.AsyncClient] = None,
    ) -> None:
        self._transport = AsyncTransport(base_url, _headers(token, application, application_key), timeout, http)
        self.security = AsyncSecurity(self._transport)
