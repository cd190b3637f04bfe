"""Colours, sizes and motion, measured in the browser; and axe-core's opinion."""

import re
from typing import Any, Literal

import pytest
from django.template import loader
from playwright.sync_api import Locator, Page

from tests.browser.conftest import Browse, Gallery

SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]


def colour(locator: Locator, name: str) -> tuple[float, ...]:
    """A computed colour as red, green, blue from 0 to 1; it must be opaque."""
    text = locator.evaluate(f"element => getComputedStyle(element)['{name}']")
    assert text.startswith("rgb("), text
    return tuple(int(part) / 255 for part in re.findall(r"\d+", text))


def luminance(colour: tuple[float, ...]) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_button_is_white_on_green_with_enough_contrast(
    browse: Browse, gallery: Gallery, scheme: str
):
    button = browse(gallery.url, color_scheme=scheme).locator("#start button")
    ground = colour(button, "backgroundColor")
    assert colour(button, "color") == (1, 1, 1)
    assert ground[1] > ground[0] and ground[1] > ground[2]
    assert contrast((1, 1, 1), ground) >= 4.5
    button.hover()
    assert contrast((1, 1, 1), colour(button, "backgroundColor")) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_words_of_every_state_have_enough_contrast(browse: Browse, gallery: Gallery, scheme: str):
    page = browse(gallery.url, color_scheme=scheme, storage_state=gallery.storage_state)
    for job_id in gallery.jobs.values():
        row = page.locator(f"#job-{job_id}")
        list_ground = colour(page.locator("#jobs"), "backgroundColor")
        pill = row.locator(".pill:not(.cancelled)")
        ground = colour(pill, "backgroundColor") if pill.count() else list_ground
        for part in (".pill .icon", ".pill strong"):
            assert contrast(colour(row.locator(part), "color"), ground) >= 4.5
        for part in (".amount span", ".link time", ".says"):
            assert contrast(colour(row.locator(part), "color"), list_ground) >= 4.5


def test_dark_scheme_is_dark(browse: Browse, gallery: Gallery):
    page = browse(gallery.url, color_scheme="dark")
    assert luminance(colour(page.locator("body"), "backgroundColor")) < 0.05
    assert luminance(colour(page.locator("h1"), "color")) > 0.7


def test_every_state_is_an_icon_and_a_word(browse: Browse, gallery: Gallery):
    page = browse(gallery.url, storage_state=gallery.storage_state)
    drawn = {}
    for job_id in gallery.jobs.values():
        pill = page.locator(f"#state-{job_id} .pill")
        drawn[pill.locator("strong").inner_text()] = pill.locator(".icon svg").inner_html()
    assert all(drawn.values())
    groups = [
        ["queued", "scheduled"],
        ["running"],
        ["waiting"],
        ["succeeded"],
        ["failed", "not sent"],
        ["cancelled"],
    ]
    assert set(drawn) == {word for words in groups for word in words}
    assert len(set(drawn.values())) == len(groups)
    for words in groups:
        assert len({drawn[word] for word in words}) == 1


def test_edges_are_seen_in_forced_colours(browse: Browse, gallery: Gallery):
    page = browse(gallery.url, forced_colors="active", storage_state=gallery.storage_state)
    row = page.locator(f"#job-{gallery.jobs['running']}")
    for seen in (page.locator("#start button"), row.locator(".pill"), row.locator("progress")):
        assert seen.evaluate("e => getComputedStyle(e).borderTopWidth") == "1px"
        edge, ground = (
            colour(seen, "borderTopColor"),
            colour(page.locator("body"), "backgroundColor"),
        )
        assert contrast(edge, ground) >= 3
    assert row.locator("progress").bounding_box()["width"] >= 40


def test_nothing_moves_where_motion_is_unwanted(browse: Browse, gallery: Gallery):
    page = browse(gallery.url, reduced_motion="reduce", storage_state=gallery.storage_state)
    moving = """() => [...document.querySelectorAll("*")].filter((element) => {
      const style = getComputedStyle(element);
      return style.transitionDuration !== "0s" || style.animationName !== "none";
    }).length"""
    assert page.evaluate(moving) == 0


def test_no_page_scrolls_sideways_at_320_pixels(browse: Browse, gallery: Gallery):
    browse.expect("404 (Not Found)")
    page = browse(
        gallery.url,
        viewport={"width": 320, "height": 640},
        storage_state=gallery.storage_state,
    )
    widths = {}
    for name, path in gallery.pages.items():
        browse.tab(page, gallery.url + path)
        page.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
        widths[name] = page.evaluate("document.documentElement.scrollWidth")
    assert set(widths.values()) == {320}, widths


def test_axe_finds_no_violation(browse: Browse, gallery: Gallery, axe: str):
    browse.expect("404 (Not Found)")
    options = {"color_scheme": "light", "reduced_motion": "reduce"}
    page = browse(gallery.url, storage_state=gallery.storage_state, **options)
    violations = {}
    for name, path in gallery.pages.items():
        browse.tab(page, gallery.url + path)
        violations |= run_in_both_schemes(page, axe, name)
    violations |= run_in_both_schemes(browse(gallery.url, **options), axe, "empty")
    assert {name: found for name, found in violations.items() if found} == {}


def test_error_page_needs_nothing_of_the_site():
    assert "Something went wrong" in loader.get_template("500.html").render()


# Only what is used: of rules that nothing violates, their number.
AXE_RUN = """async () => {
  const { passes, violations } = await axe.run({ resultTypes: ["violations"] });
  const told = (violation) => violation.nodes.map((node) => `${violation.id}: ${node.html}`);
  return [passes.length, violations.flatMap(told)];
}"""


def run(page: Page, axe: str) -> list[str]:
    """What axe-core objects to, as `rule: the element`."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe)
    passes, violations = page.evaluate(AXE_RUN)
    assert passes
    return violations


def run_in_both_schemes(page: Page, axe: str, name: str, **sizes: Any) -> dict[str, list[str]]:
    """The same of a page that is loaded once, by its name and the scheme.

    The page must be without transitions; colours on their way are not those of either scheme.
    `sizes` may give a viewport for each scheme.
    """
    found = {}
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        if scheme in sizes:
            page.set_viewport_size(sizes[scheme])
        found[f"{name}, {scheme}"] = run(page, axe)
    return found
