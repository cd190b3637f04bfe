"""gunicorn's own lines as JSON."""

import json

from gunicorn.config import Config

from jobsite.gunicorn_logs import JsonLogger


class Answer:
    status, sent, headers = "200", 12, [("X-Request-ID", "r1")]


def test_error_and_access_lines_are_json(capsys):
    config = Config()
    config.set("accesslog", "-")
    config.set("access_log_format", "%(r)s %(s)s")
    logger = JsonLogger(config)
    logger.atoms = lambda *arguments: {"r": "GET /", "s": "200"}
    logger.info("Listening at: %s", "here")
    logger.access(Answer(), None, {}, None)
    written = capsys.readouterr()
    line, access = json.loads(written.err), json.loads(written.out)
    assert (line["logger"], line["message"]) == ("gunicorn.error", "Listening at: here")
    assert (access["message"], access["request_id"]) == ("GET / 200", "r1")
