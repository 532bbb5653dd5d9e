"""Send one mail through Django's mail backend; the result is like that of a request."""

from __future__ import annotations

import smtplib
import time
from email.utils import parseaddr
from typing import NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage

from tasks_api.delivery.request import HttpResult

# The answer of a mail server that has taken a mail (RFC 5321, 4.2.3).
ACCEPTED_STATUS = 250
MAX_ERROR_LENGTH = 500


class Mail(NamedTuple):
    # The id of the run: all attempts send the same mail, and mailboxes may tell so.
    id: str
    subject: str
    text: str
    to: tuple[str, ...]


def send(mail: Mail) -> HttpResult:
    """Hand a mail to the mail server. Whatever goes wrong is in the result."""
    began_at = time.monotonic()
    error = _try_to_send(mail)
    spent = int((time.monotonic() - began_at) * 1000)
    return HttpResult(None if error else ACCEPTED_STATUS, error, spent)


def _try_to_send(mail: Mail) -> str:
    """Why a mail was not sent; empty if it was."""
    try:
        _make_message(mail).send()
    except smtplib.SMTPRecipientsRefused as error:
        refused = ", ".join(sorted(error.recipients))
        return f"the mail server takes no mail for {refused}"[:MAX_ERROR_LENGTH]
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return f"the mail server said {error.smtp_code} {said}"[:MAX_ERROR_LENGTH]
    except Exception as error:  # noqa: BLE001 (any error is this mail's alone)
        return f"the mail could not be sent: {error}"[:MAX_ERROR_LENGTH]
    return ""


def _make_message(mail: Mail) -> EmailMessage:
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    headers = {
        "Message-ID": f"<{mail.id}@{sender.rpartition('@')[2] or 'localhost'}>",
        # RFC 3834: no out-of-office reply comes back.
        "Auto-Submitted": "auto-generated",
    }
    return EmailMessage(mail.subject, mail.text, to=list(mail.to), headers=headers)
