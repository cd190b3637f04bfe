"""What `manage.py broker` answers where there is nothing of the queue."""

import json

from django.test import RequestFactory

from jobsite import broker_urls

request = RequestFactory().get("/elsewhere")


def test_unknown_url_says_where_the_queue_is():
    response = broker_urls.not_found(request, Exception())
    assert response.status_code == 404
    assert json.loads(response.content) == {
        "error": "there is no /elsewhere, the queue's URLs all begin with /v2/"
    }


def test_errors_are_json():
    for status, response in [
        (400, broker_urls.bad_request(request, Exception())),
        (500, broker_urls.server_error(request)),
    ]:
        assert response.status_code == status
        assert "error" in json.loads(response.content)
