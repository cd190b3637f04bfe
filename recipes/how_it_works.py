"""`/how-it-works`: the way of a message, the states of a job, and what to read in which order.

No message passes here.
"""

from typing import Any, NamedTuple

from django.views.generic import TemplateView


class Explained(NamedTuple):
    """A state or a file, and a sentence about it."""

    name: str
    text: str


STATES = [
    Explained("not_sent", "The queue has not taken its message. It can be sent again."),
    Explained("queued", "The queue has its message and will deliver it."),
    Explained("running", "An attempt is working on it."),
    Explained("waiting", "An attempt has failed. The queue will deliver the message again."),
    Explained("succeeded", "The task has returned. A message that comes now changes nothing."),
    Explained("failed", "No attempt is left, or the task has given up. It can be run again."),
    Explained("cancelled", "It was cancelled before it ended."),
]
READING = [
    Explained("jobs/tasks.py", "the work itself: a task is a function"),
    Explained("jobs/views.py", "what a person asks for: start a job, show it"),
    Explained(
        "jobs/interface.py", "how a task becomes a job, and what a task may ask of its context"
    ),
    Explained("jobs/backends.py", "enqueueing publishes a message: hosted or embedded"),
    Explained("jobs/signatures.py", "what a receiver must check before it believes a message"),
    Explained("jobs/receiving.py", "check, claim, run the task, answer with a status"),
    Explained("jobs/models.py", "a job, its states, and who may change them"),
    Explained("jobs/pages.py", "what the pages say of a job"),
]


class HowItWorks(TemplateView):
    """The page; it needs no database."""

    template_name = "recipes/how_it_works.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(states=STATES, reading=READING, **kwargs)
