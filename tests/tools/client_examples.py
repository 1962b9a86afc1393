#!/usr/bin/env python3
"""Runs the examples of the four published pages against the client, as they are written there, and then asks for what they leave out.

Reads where the service is, and with what to call it, as a JSON object from standard input:
`base`, `root` (a super-user's token), `ann` (a regular user's), `api_key` (a super-user's),
`keys` (of applications by name). Prints how many examples ran.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import logging
import sys
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Awaitable, Callable, Dict, List, Set, Type
from uuid import UUID

import httpx

from usher_client import (
    ECM,
    SSO,
    AsyncClient,
    AsyncECM,
    AsyncSSO,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    Unauthenticated,
    Unreachable,
    UsherError,
)
from usher_client.connect import BaseUser
from usher_client.ecm import ECMAccessDenied, ECMError, ECMMissingArgument, ECMNotFound, ECMWrongState

SETTING: Dict[str, Any] = json.load(sys.stdin)
BASE, ROOT, ANN, KEYS = SETTING["base"], SETTING["root"], SETTING["ann"], SETTING["keys"]
RAN: List[str] = []


def example(code: str, names: Dict[str, Any]) -> str:
    """Runs an example and returns what it prints; what it binds is in `names` afterwards."""
    lines = inspect.cleandoc(code).splitlines()
    if any(line.startswith(">>> ") for line in lines):
        lines = [line[4:] for line in lines]
    compiled = compile("\n".join(lines), "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = io.StringIO()

    async def run() -> None:
        done = eval(compiled, names)
        if inspect.isawaitable(done):
            await done

    with contextlib.redirect_stdout(out):
        if inspect.CO_COROUTINE & compiled.co_flags:
            LOOP.run_until_complete(run())
        else:
            exec(compiled, names)
    RAN.append(code)
    return out.getvalue()


LOOP = asyncio.new_event_loop()


def wait(work: Awaitable[Any]) -> Any:
    return LOOP.run_until_complete(work)


def raises(kind: Type[BaseException], work: Callable[[], Any]) -> Any:
    try:
        work()
    except kind as error:
        assert type(error) is kind, repr(error)
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


# ---------------------------------------------------------------------------------------------------------------- the ECM


def ecm_pages() -> None:
    root = ECM(BASE, ROOT)
    john = root.security.create_user("john", display_name="John Doe", email="john@example.com", password=SETTING["password"])
    group = root.security.create_group("Staff")
    root.security.add_user_to_group(john.guid, group.guid)
    zoe = root.security.create_user("zoe", locked=True)
    for ecm in (root, AsyncECM(BASE, ROOT)):
        is_async = isinstance(ecm, AsyncECM)
        wait_for = "await " if is_async else ""

        names: Dict[str, Any] = {"ecm": ecm}
        out = example(
            f"""
            user = {wait_for}ecm.security.user("john")
            if user:
                print(user.display_name, user.email, user.guid)
                print(f"Last login: {{user.login_time}}")
                print(f"Login count: {{user.login_count}}")
                if user.locked:
                    print("Account is locked")
            """
            if not is_async
            else """
            user = await ecm.security.user("john")
            if user:
                print(user.display_name, user.email, user.guid)
                print(f"Last login: {user.login_time}")
            """,
            names,
        )
        assert out.splitlines()[:2] == [f"John Doe john@example.com {john.guid}", "Last login: None"], out
        assert "Account is locked" not in out
        assert names["user"] == john, (names["user"], john)

        out = example(
            f"""
            user = {wait_for}ecm.security.user("john")
            if user:
                groups = {wait_for}ecm.security.user_groups(user.guid)
                print([g.name for g in groups])
            """,
            {"ecm": ecm},
        )
        assert out == "['Staff']\n", out

        out = example(
            """
            users = ecm.security.users()
            for user in users:
                print(user.username, user.display_name, user.email)
                if user.locked:
                    print(f"  → locked")
            """
            if not is_async
            else """
            users = await ecm.security.users()
            for user in users:
                print(user.username, user.display_name, user.email)
            """,
            {"ecm": ecm},
        )
        assert "john John Doe john@example.com\nzoe zoe \n" in out, out
        assert ("  → locked" in out) is not is_async

        out = example(
            f"""
            users = {wait_for}ecm.security.users(extended_info=True)
            for user in users:
                print(user.username, user.groups)
            """,
            {"ecm": ecm},
        )
        assert "john ['Staff']\nzoe []\n" in out, out

        out = example(
            f"""
            locked = [u for u in {wait_for}ecm.security.users() if u.locked]
            print(f"{{len(locked)}} locked accounts")
            """,
            {"ecm": ecm},
        )
        assert out == "1 locked accounts\n", out
        if isinstance(ecm, AsyncECM):
            wait(ecm.close())
    root.security.update_user(zoe.guid, locked=False)
    ecm_rest(root, john.guid)


def ecm_rest(root: ECM, john: str) -> None:
    """What the pages leave out: defaults, changes, groups, checks, errors."""
    security = root.security
    assert security.user("nobody") is None and security.group("nothing") is None and security.group_members("nothing") == []
    assert security.user("..") is None and security.user("a/b?c#d%2e") is None
    made = security.create_user(
        "a/b %41", supervisor=1, valid_to=datetime(2040, 1, 2, 3, 4, 5), station="PC", lang_id=7, profile_id=3
    )
    assert (made.supervisor_id, made.valid_to, made.station, made.lang_id) == (1, datetime(2040, 1, 2, 3, 4, 5), "PC", 7)
    assert security.user("A/B %41") == made
    assert made.last_modified is not None and made.last_modified.tzinfo == timezone.utc
    changed = security.update_user(made.guid, valid_to=datetime.min, supervisor=-1, profile_id=-1, station="")
    assert (changed.valid_to, changed.supervisor_id, changed.profile_id, changed.station) == (None, -1, -1, "")
    aware = datetime(2040, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert security.update_user(str(UUID(made.guid)), valid_from=aware).valid_from == datetime(2040, 1, 2, 3, 4, 5)
    assert security.update_user(made.guid, locked=True).locked_cause == 1
    assert security.update_user(made.guid, locked=False).locked is False
    raises(TypeError, lambda: security.update_user(made.guid, supervisor=True))
    assert [role.id for role in security.roles()] == [4, 72] and security.roles(made.guid) == []

    group = security.create_group("Büro/1", profile_id=4, description="an office")
    assert security.group("büro/1") == group and group in security.groups()
    renamed = security.update_group(type(group)(group.id, "Office", group.guid, -1, ""))
    assert (renamed.name, renamed.profile_user_id, renamed.description) == ("Office", -1, "")
    security.add_user_to_group(made.guid, group.guid)
    assert [user.username for user in security.group_members("Office")] == ["a/b %41"]
    error = raises(ECMWrongState, lambda: security.delete_group("Office"))
    assert error.code == "group_not_empty" and error.status == 409
    security.remove_user_from_group(made.guid, group.guid)
    raises(ECMNotFound, lambda: security.remove_user_from_group(made.guid, group.guid))
    security.add_user_to_group(made.guid, group.guid)
    security.empty_group("Office")
    security.add_user_to_group(made.guid, group.guid)
    security.remove_user_from_all_groups(made.guid)
    security.delete_group(renamed)
    raises(ECMNotFound, lambda: security.delete_group("Office"))

    assert security.check_user_account("john", SETTING["password"]).status == 0
    assert security.check_user_account("john", "something else altogether").status == 4
    assert security.check_user_account("nobody", "something else altogether").status == 2
    with ECM(BASE, application="CRM", application_key=KEYS["CRM"]) as crm:
        assert crm.security.check_user_account("nobody", "something else altogether").status == 4
        assert crm.security.check_user_account("john", SETTING["password"]).login_method == "password"
    assert security.check_password_complexity("short") is False
    assert security.check_password_complexity("violet harbour lantern 9") is True

    error = raises(ECMMissingArgument, lambda: security.update_user(made.guid, email="no address"))
    assert (error.status, error.code, error.faults[0].member) == (422, "invalid", "email") and error.cid
    raises(ECMWrongState, lambda: security.create_user("JOHN"))
    raises(ECMMissingArgument, lambda: security.delete_user(made.guid, forward_mails=True))
    security.delete_user(made.guid, target_user_guid=john)
    raises(ECMNotFound, lambda: security.delete_user(made.guid))

    regular = ECM(BASE, ANN)
    own = regular.security.user("ann")
    assert own is not None and (own.id, own.locked, own.last_modified, own.supervisor_id) == (-1, False, None, -1)
    assert [group.id for group in regular.security.user_groups(own.guid)] == [] and regular.security.roles() == []
    for refused in (lambda: regular.security.users(), lambda: regular.security.user("john"), lambda: regular.security.user("nobody")):
        error = raises(ECMAccessDenied, refused)
        assert (error.code, error.status) == ("forbidden", 403)
    raises(ECMAccessDenied, lambda: ECM(BASE, "ust_nonsense").security.users())
    assert "ust_" not in repr(regular) + repr(regular.__dict__["_transport"])
    assert isinstance(error, ECMError) and isinstance(error, UsherError)
    wait(ecm_twins())


async def ecm_twins() -> None:
    """Every call has its asynchronous twin, of the same signature."""
    for name, method in inspect.getmembers(ECM(BASE).security, inspect.ismethod):
        if not name.startswith("_"):
            twin = getattr(AsyncECM(BASE).security, name)
            assert inspect.iscoroutinefunction(twin) and inspect.signature(twin) == inspect.signature(method), name
    async with AsyncECM(BASE, ROOT) as ecm:
        security = ecm.security
        made = await security.create_user("twin", locked=True)
        assert (await security.update_user(made.guid, locked=False, remark="x")).remark == "x"
        group = await security.create_group("Twins")
        await security.add_user_to_group(made.guid, group.guid)
        assert [user.guid for user in await security.group_members("Twins")] == [made.guid]
        assert await security.group("twins") == group and group in await security.groups()
        assert await security.update_group(group) == group
        await security.empty_group(group)
        await security.add_user_to_group(made.guid, group.guid)
        await security.remove_user_from_group(made.guid, group.guid)
        await security.remove_user_from_all_groups(made.guid)
        await security.delete_group("Twins")
        assert (await security.check_user_account("nobody", "x" * 20)).status == 2
        assert await security.check_password_complexity("short") is False
        assert [role.name for role in await security.roles()] == ["configure security", "switch job context"]
        await security.delete_user(made.guid)
        assert await security.user("twin") is None


# ---------------------------------------------------------------------------------------------------------- Posit Connect


def connect_page(client: Any, call: Callable[[Any], Any], wait_for: str) -> None:
    """The examples, whose `client` is the resource that they call, and whose `user` is a user."""

    def run(code: str, names: Dict[str, Any]) -> None:
        for name in ("user.", "client."):
            code = code.replace(f">>> {name}", f">>> {wait_for}{name}").replace(f"= {name}", f"= {wait_for}{name}")
        example(code, names)

    users = client.users
    names: Dict[str, Any] = {"client": users}
    run(
        """
        >>> user = client.create(
        ...     username="jdoe",
        ...     email="jdoe@example.com",
        ...     first_name="John",
        ...     last_name="Doe",
        ...     password="s3cur3p@ssword",
        ...     user_role="viewer",
        ... )
        """,
        names,
    )
    jdoe = names["user"]
    expected = {"email": "jdoe@example.com", "username": "jdoe", "first_name": "John", "last_name": "Doe", "user_role": "viewer"}
    assert {key: jdoe[key] for key in expected} == expected and (jdoe.locked, jdoe.confirmed, jdoe.active_time) == (False, True, None)
    assert list(jdoe.to_dict()) == list(BaseUser.KEYS)

    names = {"user": jdoe}
    run(""">>> user.lock()""", names)
    assert jdoe.locked and call(users.get(jdoe.guid)).locked
    run(""">>> user.unlock()""", names)
    assert not call(users.get(jdoe.guid)).locked
    run(""">>> user.update(email="newemail@example.com", user_role="publisher")""", names)
    assert (jdoe.email, jdoe.user_role) == ("newemail@example.com", "publisher")
    run(""">>> user.update(first_name="Jane", last_name="Smith")""", names)
    assert call(users.get(jdoe.guid)) == jdoe and jdoe.first_name == "Jane"

    names = {"client": users}
    run(
        """
        >>> user = client.create(
        ...     username="jdoe2",
        ...     email="jdoe@example.com",
        ...     first_name="John",
        ...     last_name="Doe",
        ...     user_must_set_password=True,
        ...     user_role="viewer",
        ... )
        """,
        names,
    )
    jdoe2 = names["user"]

    finders: Dict[str, Callable[[Set[str]], bool]] = {
        'prefix="jo"': lambda found: {"jdoe2", "john"} <= found and "jdoe" not in found,
        'user_role="viewer|publisher"': lambda found: {"jdoe", "jdoe2", "ann"} <= found and "root" not in found,
        'account_status="locked|licensed"': lambda found: {"root", "ann"} <= found and "jdoe" not in found,
    }
    for condition, is_right in finders.items():
        run(f""">>> users = client.find({condition})""", names)
        found = {user.username for user in names["users"]}
        assert is_right(found), (condition, found)
        run(f""">>> user = client.find_one({condition})""", names)
        assert names["user"] == names["users"][0]

    # The example's guid is nobody's here: it is refused as such, and the same call with one that is somebody's finds the user.
    error = raises(NotFound, lambda: run(""">>> user = client.get("123e4567-e89b-12d3-a456-426614174000")""", dict(names)))
    assert error.code == "not_found"
    run(f""">>> user = client.get("{jdoe.guid}")""", names)
    assert names["user"] == jdoe
    before = call(users.count())
    assert before == len(call(users.find())) and before > 4

    # Attempt to lock your own account (will raise RuntimeError unless force is set to True).
    me = call(client.me) if wait_for else client.me
    raises(RuntimeError, lambda: run(""">>> user.lock()""", {"user": me}))
    assert call(client.me if wait_for else users.get(me.guid)).locked is False
    # A session that was opened just now makes a super-user; natively no API key does.
    new = {"username": "chief", "password": "violet harbour lantern 9", "user_role": "administrator"}
    if wait_for:
        error = raises(Forbidden, lambda: call(users.create(**new)))
        assert error.code == "session_required"
    with Client(BASE, ROOT) as by_session:
        chief = by_session.users.create(**new)
    signed_in = httpx.post(f"{BASE}/api/v1/sessions", json={"username": "chief", "password": "violet harbour lantern 9"}).json()
    names = {"user": None}
    own = AsyncClient(BASE, signed_in["ust"]) if wait_for else Client(BASE, signed_in["ust"])
    names["user"] = call(own.me) if wait_for else own.me
    run(""">>> user.lock(force=True)""", names)
    assert call(users.get(chief.guid)).locked

    raises(TypeError, lambda: users.find("positional") if not wait_for else call(users.find("positional")))
    raises(TypeError, lambda: call(users.find(nonsense="x")))
    raises(ValueError, lambda: call(users.create(username="x", password="y", user_must_set_password=True)))
    raises(TypeError, lambda: call(users.create(password="violet harbour lantern 9")))
    error = raises(Invalid, lambda: call(users.create(username="x", password="short")))
    assert (error.code, error.faults[0].member) == ("password_unfit", "password")
    error = raises(Conflict, lambda: call(users.create(username="JDOE")))
    assert (error.code, error.status) == ("value_taken", 409)
    assert call(users.find_one(prefix="nobody-of-this-name")) is None
    assert len(call(users.find(prefix=""))) == call(users.count())
    for name in ("jdoe", "jdoe2", "chief"):
        ECM(BASE, ROOT).security.delete_user(call(users.find_one(prefix=name)).guid)


def connect() -> None:
    with Client(BASE, ROOT) as client:
        connect_page(client, lambda value: value, "")
    asynchronous = AsyncClient(BASE, SETTING["api_key"])
    connect_page(asynchronous, wait, "await ")
    wait(asynchronous.close())
    regular = Client(BASE, ANN)
    me = regular.me
    assert (me.username, me.created_time, me.locked) == ("ann", None, None)
    me.update(first_name="Ann")
    assert regular.me.first_name == "Ann"
    raises(Forbidden, lambda: me.update(user_role="administrator"))
    raises(Forbidden, regular.users.find)
    raises(Forbidden, lambda: me.lock(force=True))
    raises(Unauthenticated, lambda: Client(BASE, "ust_nonsense").me)


# --------------------------------------------------------------------------------------------------------------- Zato SSO

GET_CURRENT_USER = """
class GetCurrentUser(Service):

    def handle(self):

        # Data obtained from request and/or WSGI environment
        ust = 'gAAAAABalFycY50Budi...'
        current_app = 'CRM'
        remote_addr = ''

        # Get user by UST
        user_info = self.sso.user.get_current_user(self.cid, ust, current_app, remote_addr)

        # Log output for confirmation
        self.logger.info(user_info.to_dict())
"""

REGULAR = (
    "user_id username email display_name first_name middle_name last_name is_totp_enabled totp_key totp_label".split()
)
SUPER = (
    "is_active is_internal is_super_user is_locked is_approval_needed approval_status approval_status_mod_by approval_status_mod_time"
    " locked_time creation_ctx locked_by approv_rej_time approv_rej_by password_expiry password_is_set password_must_change"
    " password_last_set sign_up_status sign_up_time"
).split()


class Service:
    """What the platform of the page gives a service."""

    def __init__(self, sso: Any, cid: str) -> None:
        self.sso, self.cid, self.logger = sso, cid, logging.getLogger("zato")


def zato() -> None:
    sso = SSO(BASE, keys=KEYS)
    logged: List[Any] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.msg)  # type: ignore[method-assign]
    logging.getLogger("zato").addHandler(handler)
    logging.getLogger("zato").setLevel(logging.INFO)
    for ust, name in ((ANN, "ann"), (ROOT, "root")):
        names: Dict[str, Any] = {"Service": Service}
        # The page's token has been shortened; the rest is as it stands there.
        example(GET_CURRENT_USER.replace("gAAAAABalFycY50Budi...", ust), names)
        names["GetCurrentUser"](sso, f"zato-{name}").handle()
        shown = logged.pop()
        assert shown["username"] == name and shown["user_id"].startswith("zusr"), shown
        assert list(shown)[:2] == ["user_id", "username"], shown
        assert all(key in shown for key in REGULAR if key != "totp_key"), shown
        assert [key for key in SUPER if key in shown] == ([] if name == "ann" else SUPER), shown
        assert not any("hash" in key or key == "password" for key in shown), shown
        json.dumps(shown)

    asynchronous = AsyncSSO(BASE, keys=KEYS)
    for user in (
        sso.user.get_current_user("cid-1", ANN, "CRM", ""),
        wait(asynchronous.user.get_current_user("cid-1", ANN, "CRM", "")),
    ):
        assert (user.username, user.is_locked, user.password_expiry, user.sign_up_time) == ("ann", None, None, None)
        assert "number" not in user.others and user.others["user_role"] == "viewer"
    ann = user.user_id
    uuid = str(UUID(httpx.get(f"{BASE}/api/v1/users/me", headers={"Authorization": f"Bearer {ANN}"}).json()["user_id"]))
    for spelling in (ann, ann.upper(), uuid, uuid.replace("-", "").upper()):
        for found in (
            sso.user.get_user_by_id("cid-2", spelling, ROOT, "CRM", ""),
            wait(asynchronous.user.get_user_by_id("cid-2", spelling, ROOT, "CRM", "")),
        ):
            assert (found.user_id, found.username, found.is_locked, found.approval_status) == (ann, "ann", False, "approved")
            assert found.sign_up_time is not None and found.sign_up_time.tzinfo is not None
            assert found.approval_status_mod_by is None or found.approval_status_mod_by.startswith("zusr")
    # The correlation id is the one given, in the trail and in errors.
    events = httpx.get(f"{BASE}/api/v1/audit-events?cid=cid-2", headers={"Authorization": f"Bearer {ROOT}"}).json()["items"]
    assert len(events) == 8 and {event["application"] for event in events} == {"CRM"}, events
    error = raises(Forbidden, lambda: sso.user.get_user_by_id("cid-3", ann, ANN, "CRM", ""))
    assert (error.code, error.status, error.cid) == ("forbidden", 403, "cid-3")
    error = raises(NotFound, lambda: sso.user.get_user_by_id("cid-4", "zusrx2efj1q1h98n9q00tgx8scefv", ROOT, "CRM", ""))
    assert (error.code, error.cid) == ("not_found", "cid-4")
    raises(Unauthenticated, lambda: sso.user.get_current_user("cid-5", "nonsense", "CRM", ""))
    raises(Unauthenticated, lambda: sso.user.get_current_user("cid-6", ANN, "Nothing", ""))
    raises(Unauthenticated, lambda: SSO(BASE).user.get_current_user("cid-6", ANN, "CRM", ""))
    raises(ValueError, lambda: sso.user.get_current_user("no cid", ANN, "CRM", ""))
    raises(ValueError, lambda: sso.user.get_user_by_id("cid-7", "nonsense", ROOT, "CRM", ""))
    raises(ValueError, lambda: sso.user.get_user_by_id("cid-7", "zusr", ROOT, "CRM", ""))
    # An address is passed on; usher decides whether it believes the application.
    sso.user.get_current_user("cid-8", ANN, "CRM", "2001:db8::7")
    events = httpx.get(f"{BASE}/api/v1/audit-events?cid=cid-8", headers={"Authorization": f"Bearer {ROOT}"}).json()["items"]
    assert events[0]["remote_addr"] == "2001:db8::7", events
    raises(Forbidden, lambda: sso.user.get_current_user("cid-9", ANN, "Till", "2001:db8::7"))
    sso.user.get_current_user("cid-9", ANN, "Till")
    wait(asynchronous.close())
    sso.close()


# --------------------------------------------------------------------------------------------------- what is not usher's


class Stranger(BaseHTTPRequestHandler):
    ANSWERS = {"/text": (200, b"hello"), "/list": (200, b"[]"), "/broken": (502, b"<html>"), "/other": (403, b'{"error": "x"}')}

    def do_GET(self) -> None:
        STRANGE.append(self.path)
        status, body = self.ANSWERS["/" + self.path.split("/")[1]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


STRANGE: List[str] = []


def strangers() -> None:
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    for place in Stranger.ANSWERS:
        error = raises(ServerError, lambda: SSO(base + place).user.get_current_user("cid", ANN, "CRM"))
        assert error.code == "no_answer_of_usher" and error.status in (200, 502, 403), error
        raises(ServerError, lambda: wait(AsyncECM(base + place + "/").security.user("john")))
    # Nothing is tried twice, and a prefix is kept.
    assert len(STRANGE) == 2 * len(Stranger.ANSWERS) and STRANGE[1] == "/text/ecm/security/user/john", STRANGE
    server.shutdown()
    server.server_close()
    for work in (
        lambda: SSO(base).user.get_current_user("cid-away", ANN, "CRM"),
        lambda: wait(AsyncSSO(base).user.get_current_user("cid-away", ANN, "CRM")),
    ):
        error = raises(Unreachable, work)
        assert (error.status, error.cid) == (None, "cid-away") and ANN not in str(error)


if __name__ == "__main__":
    ecm_pages()
    connect()
    zato()
    strangers()
    print(f"{len(RAN)} examples ran")
