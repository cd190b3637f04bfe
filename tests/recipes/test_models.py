"""The day's mails are counted, and no rival gets past the limit."""

from datetime import timedelta

import pytest

from recipes.models import MailDay, take_mails, today

pytestmark = pytest.mark.django_db


def test_mails_are_taken_up_to_the_limit_and_not_beyond(settings):
    settings.EMAIL_MOST_A_DAY = 10
    assert take_mails([6, 5, 4, 1]) == [True, False, True, False]
    assert MailDay.objects.get().count == 10


def test_more_than_a_days_mails_are_never_taken(settings):
    settings.EMAIL_MOST_A_DAY = 10
    assert take_mails([11]) == [False]


def test_next_day_begins_at_none_and_forgets_the_last(settings):
    settings.EMAIL_MOST_A_DAY = 10
    MailDay.objects.create(day=today() - timedelta(days=1), count=10)
    assert take_mails([10]) == [True]
    assert [(row.day, row.count) for row in MailDay.objects.all()] == [(today(), 10)]
