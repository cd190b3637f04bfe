import pytest

from catcher.live_source import read_caught, read_changed
from catcher.models import Entry, change, clear

pytestmark = pytest.mark.django_db


def catch(name, **values):
    return Entry.objects.create(bin=name, method="GET", path="/", **values)


def test_what_was_caught_before_is_no_news():
    catch("b")
    since, topics = read_caught(None)
    assert topics == set()
    assert read_caught(since)[1] == set()


def test_each_request_is_told_once_to_its_bin():
    since, _ = read_caught(None)
    catch("b")
    catch("c")
    since, topics = read_caught(since)
    assert topics == {"bin:b", "bin:c"}
    assert read_caught(since)[1] == set()


def test_smaller_id_that_is_committed_later_is_told():
    newest = catch("b")
    since, _ = read_caught(None)
    catch("quick", id=newest.id + 2)
    since, topics = read_caught(since)
    assert topics == {"bin:quick"}
    catch("slow", id=newest.id + 1)
    assert read_caught(since)[1] == {"bin:slow"}


def test_bin_that_was_emptied_catches_on():
    catch("b")
    since, _ = read_caught(None)
    Entry.objects.all().delete()
    since, _ = read_caught(since)
    catch("b")
    assert read_caught(since)[1] == {"bin:b"}


def test_bin_that_is_cleared_or_answers_something_else_is_told_once():
    since, _ = read_changed(None)
    clear(["b"])
    since, topics = read_changed(since)
    assert topics == {"bin:b"}
    change([("c", {"status": 503})])
    since, topics = read_changed(since)
    assert topics == {"bin:c"}
    assert read_changed(since)[1] == set()


def test_bin_that_was_changed_before_is_no_news():
    clear(["b"])
    assert read_changed(read_changed(None)[0])[1] == set()
