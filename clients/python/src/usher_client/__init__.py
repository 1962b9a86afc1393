"""Client of usher, an SSO identity service.

Three modules give the calls of three older systems, each synchronous and asynchronous:

- `usher_client.sso`: Zato SSO's `user.get_current_user` and `user.get_user_by_id`;
- `usher_client.connect`: Posit Connect's `users` and `me`;
- `usher_client.ecm`: the ECM's `security`.

What is refused or fails is raised as an `UsherError`, with its code, status and correlation id. Nothing is tried twice.
"""

from ._errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    TooManyAttempts,
    Unauthenticated,
    Unreachable,
    UsherError,
)
from .connect import AsyncClient, Client
from .ecm import ECM, AsyncECM
from .sso import SSO, AsyncSSO

__all__ = [
    "ECM",
    "SSO",
    "AsyncClient",
    "AsyncECM",
    "AsyncSSO",
    "Client",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "ServerError",
    "TooManyAttempts",
    "Unauthenticated",
    "Unreachable",
    "UsherError",
]
