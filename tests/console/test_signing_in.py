"""The form that asks for the password."""

import pytest

pytestmark = pytest.mark.django_db(transaction=True)


def test_form_asks_for_the_password_and_keeps_where_to_go(client, settings):
    settings.CONSOLE_OPEN, settings.CONSOLE_PASSWORD = False, "password"
    text = client.get("/queue/sign-in?next=/queue/queues").content.decode()
    assert 'autocomplete="current-password"' in text
    assert '<input type="hidden" name="next" value="/queue/queues">' in text


def test_who_is_in_already_goes_on(client, settings):
    settings.CONSOLE_OPEN = True
    assert client.get("/queue/sign-in")["Location"] == "/queue/messages"


def test_way_out_needs_a_click(client):
    assert client.get("/queue/sign-out").status_code == 405
