"""The image example: before and after appear by themselves; what is no image gets a sentence."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from harness.processes import Site
from jobsite.settings import LARGEST_REQUEST
from recipes.uploading import LARGEST_IMAGE
from tests.browser.conftest import Browse
from tests.browser.test_email import violations
from tests.recipes.pictures import photo, picture


def upload(page: Page, content: bytes, name: str = "photo.jpg") -> None:
    file = {"name": name, "mimeType": "image/jpeg", "buffer": content}
    page.get_by_label("Image", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and process").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_before_and_after_appear_by_themselves(browse: Browse, live: Site, scripts: bool):
    page = browse(f"{live.url}/image", java_script_enabled=scripts)
    upload(page, photo(orientation=6, size=(2000, 1000)))
    page.wait_for_url("**/image?job=*")
    expect(page.locator("#image-made figure")).to_have_count(3)
    expect(page.locator("#image-made")).to_contain_text("% smaller now")
    expect(page.locator("#image-made")).to_contain_text("WebP, 800 × 1600")
    expect(page.locator("#jobs")).to_contain_text("succeeded")
    if scripts:
        images = page.locator("#image-made img")
        images.evaluate_all("all => all.map(image => image.loading = 'eager')")
        # the browser turns the first one, too
        for number, height in enumerate([2000, 1600, 320]):
            expect(images.nth(number)).to_have_js_property("naturalHeight", height)


def upload_large(page: Page, folder: Path, size: int) -> None:
    """From a file that the browser opens itself: Playwright takes seconds to hand megabytes on."""
    file = folder / "photo.jpg"
    file.write_bytes(bytes(size))
    page.get_by_label("Image", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and process").click()


def test_what_is_no_image_gets_a_sentence(browse: Browse, still: Site):
    browse.expect("415 (")
    page = browse(f"{still.url}/image")
    upload(page, b"just a text")
    expect(page.get_by_role("alert")).to_contain_text("photo.jpg is not a JPEG")


def test_image_that_is_too_large_gets_a_sentence(browse: Browse, still: Site, tmp_path: Path):
    browse.expect("413 (")
    page = browse(f"{still.url}/image")
    upload_large(page, tmp_path, LARGEST_IMAGE + 100_000)
    expect(page.get_by_role("alert")).to_contain_text("The image is too large: 10 MB are the most.")


@pytest.mark.parametrize("scripts", [True, False])
def test_upload_that_the_server_does_not_even_store_gets_a_sentence(
    browse: Browse, still: Site, tmp_path: Path, scripts: bool
):
    browse.expect("413 (")
    page = browse(f"{still.url}/image", java_script_enabled=scripts)
    upload_large(page, tmp_path, LARGEST_REQUEST)
    expect(page.get_by_role("alert")).to_contain_text("An image may have 10 MB.")


def test_truncated_photo_gets_a_sentence_when_it_is_decoded(browse: Browse, live: Site):
    page = browse(f"{live.url}/image")
    upload(page, photo(size=(640, 640))[:-200])
    expect(page.locator("#jobs")).to_contain_text("photo.jpg is damaged")
    expect(page.locator("#image-made")).to_contain_text("nothing has been made of it")


def test_hostile_name_runs_nothing_and_breaks_nothing(browse: Browse, live: Site):
    page = browse(f"{live.url}/image", viewport={"width": 320, "height": 640})
    name = f"<img src=x onerror=document.title='run'>\N{RIGHT-TO-LEFT OVERRIDE}{'x' * 200}.png"
    upload(page, picture("PNG"), name)
    expect(page.locator("#image-made figure")).to_have_count(3)
    assert page.title() != "run"
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_the_image_page(
    browse: Browse, live: Site, axe: str, scheme: str
):
    page = browse(f"{live.url}/image", color_scheme=scheme)
    violations(page, axe)
    upload(page, picture())
    expect(page.locator("#image-made figure")).to_have_count(3)
    violations(page, axe)
