"""The cron field: read back in words, with and without a script."""

import pytest

EVERY_DAY = "CRON_TZ=Europe/Berlin 30 4 * * *"


def test_page_reads_every_minute_back_before_anything_is_typed(client, db):
    page = client.get("/schedule").text
    assert "Every minute (UTC)" in page
    assert page.count("<li><time") == 5 or page.count("<time") >= 5
    assert "The way of a job: an example" in page


def test_what_is_typed_is_read_back(client, db):
    answer = client.get("/schedule/read", {"cron": EVERY_DAY})
    assert "At 04:30 every day (Europe/Berlin)" in answer.text
    assert answer.text.count("<time") == 5
    assert "<html" not in answer.text


@pytest.mark.parametrize("cron", ["61 * * * *", "", "<script>alert(1)</script>", "\0", "* " * 99])
def test_what_cannot_be_read_is_answered_in_words(client, db, cron):
    answer = client.get("/schedule/read", {"cron": cron})
    assert answer.status_code == 200
    assert 'class="problem"' in answer.text
    assert "<script" not in answer.text


def test_read_back_button_leads_to_the_page_with_the_field(client, db):
    answer = client.post("/schedule/start", {"cron": EVERY_DAY, "read": "1"}, follow=True)
    assert answer.redirect_chain[0][1] == 303
    assert "At 04:30 every day (Europe/Berlin)" in answer.text
    assert f'value="{EVERY_DAY}"' in answer.text


def test_field_that_cannot_be_read_starts_nothing_and_is_kept(client, db):
    answer = client.post("/schedule/start", {"cron": "61 * * * *"}, follow=True)
    assert "“61 * * * *” cannot be read" in answer.text
    assert 'value="61 * * * *"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "None yet." in answer.text


def test_only_what_a_schedule_can_do_has_a_url(client, db):
    assert client.post("/schedule/1/explode").status_code == 404
    assert client.post("/schedule/0/pause").status_code == 404
    assert client.get("/schedule/1/pause").status_code == 405
