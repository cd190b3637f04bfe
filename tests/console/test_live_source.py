"""Open pages are told once of whatever happens to a message of the site."""

import pytest

from broker.models import DeadLetter, Event, Message, State
from console.live_source import LOOK_BACK, read_letters, read_logged
from tests.broker.letters import bury
from tests.broker.messages import NOW, new_message

pytestmark = pytest.mark.django_db


@pytest.fixture
def message() -> Message:
    message = new_message()
    message.save()
    return message


def log(message: Message, **fields: object) -> Event:
    values = {"message": message, "state": State.ACTIVE, "time": NOW}
    return Event.objects.create(**values | fields)


def test_what_has_happened_before_is_no_news(message):
    log(message)
    since, topics = read_logged(None)
    assert topics == read_logged(since)[1] == set()


def test_every_line_is_told_once(message):
    since, _ = read_logged(None)
    log(message)
    since, topics = read_logged(since)
    assert topics == {"messages"}
    assert read_logged(since)[1] == set()


def test_smaller_id_that_is_committed_later_is_told(message):
    first = log(message)
    log(message, id=first.pk + 2)
    since, _ = read_logged(None)
    log(message, id=first.pk + 1)
    assert read_logged(since)[1] == {"messages"}


def test_other_accounts_are_no_news(message):
    since, _ = read_logged(None)
    log(message, account="other")
    assert read_logged(since)[1] == set()


def test_deleted_lines_are_no_news(message):
    lines = [log(message) for _ in range(LOOK_BACK + 5)]
    since, _ = read_logged(None)
    lines[-1].delete()
    assert read_logged(since)[1] == set()


def test_letters_are_told_when_they_come_and_when_they_go():
    since, topics = read_letters(None)
    assert topics == read_letters(since)[1] == set()
    bury(new_message())
    since, topics = read_letters(since)
    assert topics == {"letters"}
    DeadLetter.objects.all().delete()
    assert read_letters(since)[1] == {"letters"}
