"""The doctor's page: for the operator only, and nothing runs before the button is pressed."""

from tests.console.conftest import visit  # noqa: F401  a fixture


async def test_nothing_is_examined_until_the_button_is_pressed(visit):  # noqa: F811
    page = await visit.get("doctor")
    assert (page.status, "Examine" in page.text, "Findings" in page.html) == (200, True, False)
    found = await visit.post("doctor")
    assert "There are problems." in found.text  # there is no http://testserver
    assert "http://testserver cannot be reached" in found.text
    assert found.html.count("<li>") >= 8
    assert "Examine again" in found.text


async def test_stranger_must_sign_in(async_client, settings, transactional_db):
    settings.CONSOLE_OPEN, settings.CONSOLE_PASSWORD = False, "long password"
    for answer in (
        await async_client.get("/queue/doctor"),
        await async_client.post("/queue/doctor"),
    ):
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/queue/sign-in?")
