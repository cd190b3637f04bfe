"""The log of a whole site as JSON: its own lines, gunicorn's, and the access log's."""

import json
import re
from typing import Any

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def lines(watched: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    """The lines of the log that have these values; each line of it is an object."""
    found = [json.loads(line) for line in watched["log"].splitlines()]
    return [line for line in found if wanted.items() <= line.items()]


def test_every_line_is_an_object_with_moment_level_logger_and_text(watched):
    found = lines(watched)
    assert len(found) > 30
    for line in found:
        assert MOMENT.fullmatch(line["time"])
        assert line["level"] in {"INFO", "WARNING", "ERROR"}
        assert line["logger"] and line["message"]


def test_job_can_be_followed_by_its_id_and_its_message_by_another(watched):
    for job_id in watched["jobs"]:
        texts = [line["message"] for line in lines(watched, job=job_id)]
        assert texts == ["started", "succeeded"]
        (message_id,) = {line["message_id"] for line in lines(watched, job=job_id)}
        texts = [line["message"] for line in lines(watched, message_id=message_id)]
        assert sorted(texts) == ["message delivered", "started", "succeeded"]


def test_lines_of_a_delivery_have_its_request_id(watched):
    for line in lines(watched, logger="jobs.receiving"):
        assert re.fullmatch("[0-9a-f]{32}", line["request_id"])
        access = lines(watched, logger="gunicorn.access", request_id=line["request_id"])
        assert ["POST /api/long-task" in one["message"] for one in access] == [True]


def test_id_of_a_trusted_proxy_is_in_the_answer_and_in_the_log(watched):
    assert watched["request_id"] == "from-the-proxy"
    (access,) = lines(watched, request_id="from-the-proxy")
    assert access["logger"] == "gunicorn.access"


def test_gunicorns_own_lines_are_among_them(watched):
    texts = " ".join(line["message"] for line in lines(watched, logger="gunicorn.error"))
    assert "Starting gunicorn" in texts and "Booting worker" in texts
