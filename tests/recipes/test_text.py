"""Strangers' text can neither turn, hide nor push away what is around it."""

from recipes.text import shown


def test_shown_text_is_cut_and_turns_nothing():
    hostile = f"a\N{RIGHT-TO-LEFT OVERRIDE}{'b' * 300}"
    assert shown(hostile) == f"a\N{REPLACEMENT CHARACTER}{'b' * 57}…"


def test_ordinary_text_stays_as_it_is():
    assert shown("größe 1.jpg") == "größe 1.jpg"
