"""A real SMTP server on a free port, which refuses, hangs and goes away when told to."""

import asyncio
import email
import threading
from email.message import Message
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from harness.processes import free_port

GONE = "gone"
LATER = "450 4.2.1 Try again later"
NEVER = "550 5.1.1 No such user here"


class Mail(NamedTuple):
    """A mail that the server has taken in, whether or not it lived to say so."""

    to: str
    message: Message


class Held:
    """A mail that the server has and does not answer for until it is released."""

    def __init__(self) -> None:
        self.came, self.released = threading.Event(), threading.Event()


class MailServer:
    """`answers[address]` is what it says to a recipient, or GONE: it hangs up instead.

    A list is used up, one answer each time. `held[address]` waits with its answer to the mail.
    """

    def __init__(self) -> None:
        self.answers: dict[str, str | list[str]] = {}
        self.held: dict[str, Held] = {}
        self.mails: list[Mail] = []
        self.connections = 0
        self.port = free_port()
        self.answer_to_sender = "250 OK"

    @property
    def url(self) -> str:
        return f"smtp+plain://127.0.0.1:{self.port}"

    @property
    def sent_to(self) -> list[str]:
        return [mail.to for mail in self.mails]

    def hold(self, address: str) -> Held:
        self.held[address] = Held()
        return self.held[address]

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.answer_to_sender

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else "250 OK"
        if answer == GONE:
            server.transport.abort()
        elif answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        (address,) = envelope.rcpt_tos
        self.mails.append(Mail(address, email.message_from_bytes(envelope.content)))
        if held := self.held.get(address):
            held.came.set()
            while not held.released.is_set():
                await asyncio.sleep(0.01)
        return "250 Taken"

    def start(self) -> None:
        self.controller = Controller(self, "127.0.0.1", self.port)
        self.controller.start()

    def stop(self) -> None:
        for held in self.held.values():
            held.released.set()
        self.controller.stop(no_assert=True)

    def __enter__(self) -> "MailServer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
