"""Which bins are a visitor's."""

from django.test import RequestFactory

from catcher.bins import REMEMBERED, bins_of, new_bin, own_bin


def visitor():
    request = RequestFactory().get("/")
    request.session = {}
    return request


def test_own_bin_stays_the_same_and_differs_from_others():
    one, other = visitor(), visitor()
    assert own_bin(one) == own_bin(one) != own_bin(other)


def test_own_bin_is_the_one_that_somebody_has_named_before():
    request = visitor()
    request.session["bin"] = "named-by-jobs"
    assert own_bin(request) == "named-by-jobs"


def test_new_bins_are_remembered_newest_first_and_not_for_ever():
    request = visitor()
    names = [new_bin(request) for _ in range(REMEMBERED + 2)]
    assert bins_of(request) == names[: -REMEMBERED - 1 : -1]
    assert len(set(names)) == REMEMBERED + 2
