"""The e-mail example: one job mails many users, and a redelivery mails nobody twice.

`start_email_job` publishes a message with the addresses. It comes back to `/api/send-email`,
where `send_email` hands one mail after the other to the mail server and notes each.
https://upstash.com/docs/qstash/features/background-jobs
"""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.mail import EmailMessage, MailerDoesNotExist, mailers
from django.core.mail.backends.base import BaseEmailBackend
from django.tasks import task

from jobs.exceptions import GiveUp, TryAgain
from jobs.interface import SyncJobContext
from jobs.models import Job
from jobs.signatures import current_site_url

SUBJECT = "Hello from a background job"
BODY = """Hello,

somebody has entered your address at {site} to see how a background job sends e-mail.
That is all: you need not do anything, and nobody has kept your address for anything else.
"""


class NotNow(TryAgain):
    """The server refuses one mail for now. The others need not wait for it."""


# Mail servers ask for patience in minutes: six attempts within about ten.
@task(
    takes_context=True,
    endpoint="send-email",
    retries=5,
    retry_delay="5000 * pow(3, retried)",
    timeout=120,
)
def send_email(context: SyncJobContext, users: list[str]) -> None:
    """Mail each user who is not noted yet, over one connection."""
    later = []
    with mail_server() as server:
        for number, user in not_noted(context, users):
            try:
                outcome = send(server, mail_for(user, f"{context.job_id}.{number}"))
            except NotNow as reason:
                later.append(f"{user}: {reason}")
            else:
                context.note(f"{user}: {outcome}")
    if later:
        raise TryAgain(f"refused for now: {'; '.join(later)}")


def not_noted(context: SyncJobContext, users: list[str]) -> Iterator[tuple[int, str]]:
    """Each user of whom no earlier attempt has noted anything, once, with a number that stays."""
    for number, user in enumerate(dict.fromkeys(users), start=1):
        if not outcome_for(user, context.task_result.job):
            yield number, user


def outcome_for(user: str, job: Job) -> str:
    """What a job has noted of a user, such as `sent`; empty if nothing yet."""
    said = [step["text"] for step in job.log if step["text"].startswith(f"{user}: ")]
    return said[0].removeprefix(f"{user}: ") if said else ""


def mail_for(user: str, name: str) -> EmailMessage:
    """A mail to one user. The same name makes the same Message-ID.

    A mail that was in flight when the process died is sent again; by this id, servers and
    readers can tell that it is the same one.
    """
    site = current_site_url()
    host = site.partition("://")[2].partition(":")[0] or "localhost"
    headers = {"Message-ID": f"<{name}@{host}>", "Auto-Submitted": "auto-generated"}
    return EmailMessage(SUBJECT, BODY.format(site=site), to=[user], headers=headers)


def send(server: BaseEmailBackend, mail: EmailMessage) -> str:
    """Hand a mail to the server; what to note. NotNow if only this mail has to wait."""
    try:
        server.send_messages([mail])
    except smtplib.SMTPRecipientsRefused as error:
        return refused(*next(iter(error.recipients.values())))
    except smtplib.SMTPDataError as error:
        return refused(error.smtp_code, error.smtp_error)
    except ValueError:
        return "refused, this is no address"
    return "sent"


def refused(code: int, reason: bytes | str) -> str:
    """A refusal for good, in words; NotNow for one of the codes that mean *later*, 4xx."""
    said = words_of(code, reason)
    if code < 500:
        raise NotNow(said)
    return f"refused, {said}"


@contextmanager
def mail_server() -> Iterator[BaseEmailBackend]:
    """A connection for one attempt. TryAgain if the server is away, GiveUp if it shuts us out."""
    try:
        with mailers.default as server:
            yield server
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused) as error:
        said = f"the mail server refuses this site: {words_of(error.smtp_code, error.smtp_error)}"
        raise (GiveUp if error.smtp_code >= 500 else TryAgain)(said) from error
    except MailerDoesNotExist as error:
        raise GiveUp("this site has no mail server") from error
    except smtplib.SMTPNotSupportedError as error:
        raise GiveUp(f"the mail server cannot do what EMAIL_URL asks for: {error}") from error
    except OSError as error:  # smtplib's errors are OSErrors, too
        raise TryAgain(f"the mail server is away: {error}") from error


def words_of(code: int, reason: bytes | str) -> str:
    """A server's answer on one line, such as `550 No such user here`."""
    text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    return f"{code} {' '.join(text.split())}"[:200]
