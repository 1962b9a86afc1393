"""A mail server for tests, which can be told to misbehave.

Usage: smtp_server.py BEHAVIOUR_FILE [--tls CERTIFICATE KEY] [--auth USER PASSWORD]

It listens on a free port of the loopback and prints one JSON object a line: first {"port": …}, then {"event": "message", …} for each
message that it has taken, with what came before it. What it does next stands in BEHAVIOUR_FILE, which is read anew each time: ok, hang,
later (4xx), never (5xx), drop (the connection, before the message was taken), forget (the connection, after it was taken and before
the client is told). It ends with its standard input.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def say(**what):
    print(json.dumps(what), flush=True)


class Handler:
    def __init__(self, file):
        self.file = file

    def behaviour(self):
        with open(self.file, encoding="utf-8") as file:
            return file.read().strip()

    async def handle_RCPT(self, server, session, envelope, address, options):
        behaviour = self.behaviour()
        say(event="rcpt", behaviour=behaviour)
        if behaviour == "hang":
            await asyncio.sleep(3600)
        if behaviour == "later":
            return f"451 4.3.2 not now for <{address}>"
        if behaviour == "never":
            return f"550 5.1.1 <{address}> is not known here"
        if behaviour == "drop":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        say(
            event="message",
            sender=envelope.mail_from,
            to=envelope.rcpt_tos,
            tls=session.ssl is not None,
            user=session.auth_data,
            headers={name.lower(): str(value) for name, value in message.items()},
            text=message.get_body(("plain",)).get_content(),
            html=message.get_body(("html",)).get_content(),
        )
        if self.behaviour() == "forget":
            server.transport.abort()
        return "250 OK"


def authenticator(user, password):
    def check(server, session, envelope, mechanism, data):
        is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=is_right, auth_data=user if is_right else None)

    return check


async def main():
    arguments = sys.argv[1:]
    handler = Handler(arguments.pop(0))
    options = {}
    while arguments:
        option = arguments.pop(0)
        first, second = arguments.pop(0), arguments.pop(0)
        if option == "--tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(first, second)
            options |= {"tls_context": context, "require_starttls": True}
        else:
            options |= {"authenticator": authenticator(first, second), "auth_required": True}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, hostname="mail.test", **options), "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    # Whoever started it holds its standard input open for as long as it is wanted.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
