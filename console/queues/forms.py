"""The parameters of the pages of pull queues."""

from __future__ import annotations

from django import forms

from tasks_api.domain.message_states import MessageState
from tasks_api.services.queues import MessageCursor


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
        try:
            return MessageCursor.from_text(text) if text else None
        except ValueError:
            raise forms.ValidationError("There is no such page.") from None
