"""Who may post: a form with its token, a program; not a page of another site."""

import pytest
from django.test import RequestFactory

from recipes.origins import is_form, is_from_elsewhere, refusal

factory = RequestFactory(enforce_csrf_checks=True)


def post(content_type: str = "application/json", **headers: str):
    return factory.post("/", b"x", content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/x-www-form-urlencoded", True),
        ("multipart/form-data; boundary=x", True),
        ("Multipart/Form-Data; boundary=x", True),
        ("text/plain", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_browsers_forms_are_told_from_programs(content_type, form):
    assert is_form(post(content_type)) is form


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ({}, False),
        ({"Origin": "http://testserver"}, False),
        ({"Origin": "https://testserver"}, True),
        ({"Origin": "http://testserver.evil.test"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, True),
    ],
)
def test_browsers_say_where_a_request_comes_from(headers, elsewhere):
    assert is_from_elsewhere(post(**headers)) is elsewhere
    assert bool(refusal(post(**headers))) is elsewhere


def test_sites_public_address_is_its_own(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://jobs.example.com"]
    assert not is_from_elsewhere(post(Origin="https://jobs.example.com"))


@pytest.mark.django_db
def test_form_is_not_believed_by_its_origin_alone():
    form = post("application/x-www-form-urlencoded", Origin="http://testserver")
    assert refusal(form).status_code == 403
