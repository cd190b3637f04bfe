from live.sources import Part, parts, sources


def test_every_app_that_changes_pages_has_registered():
    names = {source.read.__module__ for source in sources}
    assert names >= {"jobs.live_source", "catcher.live_source", "console.queue_status"}


def test_queue_status_is_on_every_page():
    assert [part.topic for part in parts] == ["queue"]
    assert isinstance(parts[0], Part)
