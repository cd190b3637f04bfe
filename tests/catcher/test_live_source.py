import pytest

from catcher.live_source import read_bins, read_caught
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


def test_bin_whose_answer_was_chosen_is_told_once():
    since, _ = read_bins(None)
    change([("b", {"status": 503})])
    since, topics = read_bins(since)
    assert topics == {"bin:b"}
    assert read_bins(since)[1] == set()


def test_bin_that_was_emptied_is_told_though_nothing_came():
    catch("b")
    since, _ = read_bins(None)
    clear(["b"])
    assert read_bins(since)[1] == {"bin:b"}
