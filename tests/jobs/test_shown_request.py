"""What a job keeps of the request that carried its message; test_receiving.py delivers one."""

from django.test import RequestFactory

from jobs.shown_request import shown_request


def test_only_some_headers_are_kept_and_not_the_whole_of_a_long_one():
    given = {
        "Upstash-Message-Id": "msg_1",
        "Upstash-Signature": "eyJ.secret",
        "Authorization": "Bearer secret",
        "User-Agent": "a" * 500,
    }
    shown = shown_request(
        RequestFactory().post("/api/long-task", headers=given), {"iss": "Upstash"}
    )
    assert shown == {
        "headers": {"Upstash-Message-Id": "msg_1", "User-Agent": "a" * 128},
        "claims": {"iss": "Upstash"},
    }
