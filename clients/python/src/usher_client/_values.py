"""Ids in their spellings, and times."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, Optional
from uuid import UUID

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_ALIKE = {"o": "0", "i": "1", "l": "1"}
_FRACTION = re.compile(r"\.(\d+)")


def uuid_of(text: str) -> UUID:
    """The id in any spelling: a UUID with or without dashes, or `zusr` and the number in Crockford's base 32.

    Raises ValueError if it is none.
    """
    if text[:4].lower() != "zusr":
        return UUID(text)
    number = 0
    if len(text) == 4:
        raise ValueError("no id: nothing follows zusr")
    for character in text[4:].lower():
        digit = _DIGITS.find(_ALIKE.get(character, character))
        if digit < 0:
            raise ValueError(f"no id: {character!r} is no digit of base 32")
        number = number * 32 + digit
    return UUID(int=number)


def zato_id(text: str) -> str:
    """An id as Zato SSO spells it: `zusr` and the number in lower-case Crockford base 32."""
    number, digits = uuid_of(text).int, ""
    while number:
        number, digit = divmod(number, 32)
        digits = _DIGITS[digit] + digits
    return f"zusr{digits or '0'}"


def time_of(value: Any) -> Optional[datetime]:
    """A time from its text; one without a zone stays without."""
    if not isinstance(value, str) or not value:
        return None
    # Before version 3.11, Python reads a fraction of three or six digits alone, and no Z.
    text = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), value)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def naive_utc(time: datetime) -> str:
    """A time without zone, which is UTC, as text."""
    if time.tzinfo is not None:
        time = time.astimezone(timezone.utc).replace(tzinfo=None)
    return time.isoformat()
