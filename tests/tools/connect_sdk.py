"""Drives the client of Posit Connect, unmodified, against a service.

Standard input: {"url", "admin_key", "viewer_key", "password"}; the service has the super-user that the first key is of, one viewer that the
second is of, and nobody else. Every step asserts; the last line says that all were taken.
"""

import json
import os
import sys
import warnings

os.environ["NO_PROXY"] = "127.0.0.1"

from posit import connect
from posit.connect.errors import ClientError
from posit.connect.groups import Group
from posit.connect.users import User

# What the client itself deprecates is no failure; what the server would have it call deprecated is.
warnings.simplefilter("error", DeprecationWarning)

given = json.load(sys.stdin)
PASSWORD = given["password"]
KEYS = {
    "email", "username", "first_name", "last_name", "user_role", "created_time", "updated_time", "active_time", "confirmed", "locked", "guid",
}
steps = 0


def step():
    global steps
    steps += 1


def refused(status, code, call):
    """The call is refused with this status and code, in a way that the client understands."""
    step()
    try:
        call()
    except ClientError as error:
        assert (error.http_status, error.error_code) == (status, code), error
        assert error.error_message and error.payload is None, error
    else:
        raise AssertionError(f"not refused with {code}")


def usernames(users):
    return [user["username"] for user in users]


client = connect.Client(given["url"], given["admin_key"])

# Oneself.
me = client.me
assert isinstance(me, User) and set(me) == KEYS and me["user_role"] == "administrator", me
assert client.me == me and client.users.get(me["guid"]) == me
assert client.users.count() == 2
step()

# Creating.
aron = client.users.create(username="aron", email="aron@example.com", password=PASSWORD)
assert set(aron) == KEYS and aron["user_role"] == "viewer" and aron["confirmed"] and not aron["locked"], aron
assert aron["active_time"] is None and aron["first_name"] == "" and aron["created_time"].endswith("Z"), aron
bill = client.users.create(
    username="bill", email="b@example.com", first_name="Bill", last_name="Oz", user_role="publisher", user_must_set_password=True
)
assert bill["user_role"] == "publisher" and bill["last_name"] == "Oz", bill
dora = client.users.create(username="dora", password=PASSWORD, zzz=1, email=None, unique_id="idp|dora")
assert dora["email"] == "" and "unique_id" not in dora and "zzz" not in dora, dora
step()
refused(400, 25, lambda: client.users.create(username="x1", password=PASSWORD, user_must_set_password=True))
refused(400, 12, lambda: client.users.create(username="x1"))
refused(409, 8, lambda: client.users.create(username="ARON", password=PASSWORD))
refused(400, 6, lambda: client.users.create(username="x1", password="short"))
refused(400, 76, lambda: client.users.create(username="x1", password=PASSWORD, unique_id="idp|dora"))
refused(400, 112, lambda: client.users.create(username="x1", password=PASSWORD, user_role="boss"))

# Finding.
assert client.users.find(prefix="AR") == [aron]
assert client.users.find(prefix="oz") == [bill]
assert client.users.find(prefix="nobody") == []
assert client.users.find_one(prefix="bill") == bill
assert client.users.find_one(prefix="nobody") is None
assert client.users.get(aron["guid"]) == aron
everyone = client.users.find()
assert len(everyone) == client.users.count() == 5
assert client.users.find(prefix="") == everyone == client.users.find(prefix=None)
assert usernames(client.users.find(user_role="publisher")) == ["bill"]
assert set(usernames(client.users.find(user_role="viewer|publisher"))) == {"aron", "bill", "dora", "vera"}
assert client.users.find(user_role=["viewer", "publisher"]) == []
assert set(usernames(client.users.find(account_status="locked|licensed"))) == {me["username"]}
assert set(usernames(client.users.find(account_status="locked|inactive"))) == {"aron", "bill", "dora", "vera"}
assert client.users.find(prefix="a", user_role="viewer", account_status="inactive", foo="bar baz&=é") == [aron]
step()
refused(404, 4, lambda: client.users.get("00000000-0000-0000-0000-000000000000"))
refused(400, 3, lambda: client.users.get("nonsense"))
refused(400, 115, lambda: client.users.find(account_status="gone"))

# Changing.
before = dict(aron)
aron.update(first_name="Aron", last_name="Q")
assert (aron["first_name"], aron["last_name"]) == ("Aron", "Q") and aron["created_time"] == before["created_time"]
aron.update(user_role="publisher")
aron.update()
assert aron["user_role"] == "publisher" and client.users.get(aron["guid"]) == aron
step()
refused(400, 112, lambda: aron.update(user_role="boss"))
refused(400, 61, lambda: client.me.update(user_role="viewer"))

# Locking moves nothing but the lock.
unlocked = dict(aron)
aron.lock()
assert aron["locked"] and client.users.get(aron["guid"]) == aron == {**unlocked, "locked": True}
assert client.users.find(account_status="locked") == [aron]
aron.unlock()
assert aron == unlocked and client.users.get(aron["guid"]) == aron
assert client.users.find(prefix="aron") == [aron] and client.users.find_one(prefix="aron") == aron
bill.lock(force=True)
bill.unlock()
assert client.users.find_one(prefix="bill") == bill
step()
try:
    client.me.lock()
except RuntimeError:
    step()
else:
    raise AssertionError("the client's own guard")
# And the server's, which is the last super-user's as well.
refused(403, 49, lambda: client.me.lock(force=True))
assert not client.me["locked"]

# Groups.
friends = client.groups.create(name="UnitFriends")
other = client.groups.create(name="Other", unique_id=None)
assert isinstance(friends, Group) and friends["owner_guid"] is None, friends
assert client.groups.get(friends["guid"]) == friends
assert client.groups.find() == [other, friends] and client.groups.count() == 2
assert client.groups.find(prefix="unit") == [friends] == [client.groups.find_one(prefix="UNIT")]
assert client.groups.find_one(prefix="nothing") is None
step()
refused(409, 15, lambda: client.groups.create(name="unitfriends"))
refused(400, 14, lambda: client.groups.create(name=""))
friends.members.add(aron)
friends.members.add(user_guid=bill["guid"])
assert friends.members.find() == [aron, bill] and friends.members.count() == 2
refused(409, 16, lambda: friends.members.add(aron))
assert aron.groups.find() == [friends] and dora.groups.find() == []
bill.groups.delete(friends)
assert bill.groups.find() == []
bill.groups.add(friends["guid"])
assert bill.groups.find() == [friends]
bill.groups.delete(friends["guid"])
bill.groups.add(other)
assert bill.groups.find() == [other]
friends.members.delete(aron)
refused(404, 17, lambda: friends.members.delete(aron))
assert friends.members.find() == [] and friends.members.count() == 0
friends.delete()
refused(404, 153, lambda: client.groups.get(friends["guid"]))

# What is not there.
assert list(aron.content.find()) == []
assert client.version == "2023.01.0"
step()

# More users than fit on a page.
for number in range(520):
    client.users.create(username=f"crowd-{number:03}", user_must_set_password=True)
crowd = client.users.find(prefix="crowd")
assert usernames(crowd) == [f"crowd-{number:03}" for number in range(520)]
everyone = client.users.find()
assert len(everyone) == len({user["guid"] for user in everyone}) == client.users.count() == 525
assert set(usernames(client.users.find(user_role="publisher", prefix=""))) == {"aron", "bill"}
for user in crowd[:510]:
    other.members.add(user)
members = other.members.find()
assert members == [bill, *crowd[:510]] and other.members.count() == 511
assert crowd[509].groups.find() == [other] and crowd[510].groups.find() == []
step()

# A viewer finds itself.
viewer = connect.Client(given["url"], given["viewer_key"])
vera = viewer.me
assert set(vera) == KEYS and vera["email"] == "vera@example.com", vera
assert viewer.users.find() == [vera] == viewer.users.find(prefix="ver") and viewer.users.count() == 1
assert viewer.users.find_one(prefix="aron") is None and viewer.users.get(vera["guid"]) == vera
assert vera.groups.find() == []
other.members.add(user_guid=vera["guid"])
assert vera.groups.find() == [other] and viewer.groups.get(other["guid"]).members.find() == [vera]
step()
refused(403, 19, lambda: viewer.users.get(aron["guid"]))
refused(403, 22, lambda: viewer.users.find(account_status="locked"))
refused(403, 22, lambda: viewer.users.create(username="x1", password=PASSWORD))
refused(403, 49, lambda: vera.lock(force=True))
refused(403, 21, lambda: User(viewer._ctx, **aron).update(first_name="X"))
refused(403, 23, lambda: vera.update(user_role="administrator"))
vera.update(first_name="Vera")
assert viewer.me["first_name"] == "Vera"

# Keys that are none, and none.
refused(401, 30, lambda: connect.Client(given["url"], "wrong").me)
mistyped = given["viewer_key"].replace(given["viewer_key"][20], "B" if given["viewer_key"][20] == "A" else "A")
refused(401, 30, lambda: connect.Client(given["url"], mistyped).me)
client.users.get(vera["guid"]).lock()
refused(401, 30, lambda: viewer.me)

# The same below a path of one's own, and with the name of the API in the URL.
assert connect.Client(given["url"] + "/mounted/here", given["admin_key"]).me["guid"] == me["guid"]
assert connect.Client(given["url"] + "/__api__", given["admin_key"]).me["guid"] == me["guid"]
refused(404, 2, lambda: client.get("v1/nonsense"))
refused(405, 2, lambda: client.delete("v1/users"))

print(f"all {steps} steps were taken")
