"""The parameters of the pages of pull queues."""

from __future__ import annotations

import base64
from datetime import timedelta

from django import forms

from tasks_api.domain.ids import EPOCH
from tasks_api.domain.message_states import MessageState
from tasks_api.services.queues import MessageCursor

MICROSECOND = timedelta(microseconds=1)


class QueueForm(forms.Form):
    """The name of a queue, as it is: spaces at its ends belong to it."""

    queue = forms.CharField(max_length=255, strip=False)


class MessageForm(QueueForm):
    message = forms.CharField(max_length=255, strip=False)


class MessagesForm(QueueForm):
    state = forms.ChoiceField(
        required=False, choices=[(state, state) for state in MessageState]
    )
    after = forms.CharField(required=False, max_length=100)

    def clean_state(self) -> MessageState:
        return MessageState(self.cleaned_data["state"] or MessageState.READY)

    def clean_after(self) -> MessageCursor | None:
        text = self.cleaned_data["after"]
        return read_cursor(text) if text else None


def read_cursor(text: str) -> MessageCursor:
    try:
        micros, message_id = base64.b64decode(text, b"-_", validate=True).split(b"-")
        position = EPOCH + int(micros) * MICROSECOND
        return MessageCursor(position, int(message_id))
    except (ValueError, OverflowError):
        raise forms.ValidationError("There is no such page.") from None


def write_cursor(cursor: MessageCursor) -> str:
    micros = (cursor.position - EPOCH) // MICROSECOND
    return base64.urlsafe_b64encode(f"{micros}-{cursor.id}".encode()).decode()
