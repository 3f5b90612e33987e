"""The page in a real browser: nothing of others' texts runs, everybody can read it, and it fits every screen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.daemons import Inside
from tests.page.installs import HOSTILE, SCENES, attacked, repaired
from tests.tools import chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
"""Where the browser is not there yet, it is installed first."""

SIZES = {"phone": (390, 844), "tablet": (768, 1024), "desktop": (1280, 800)}
ColorScheme = Literal["light", "dark"]
SCHEMES: tuple[ColorScheme, ...] = ("light", "dark")
ARTEFACTS = Path(__file__).parents[2] / "artefacts"
WATCH = """
window.ran = [];
window.hack = () => window.ran.push('hack');
window.alert = window.confirm = window.prompt = () => window.ran.push('dialog');
document.addEventListener('securitypolicyviolation', e => window.ran.push(`refused: ${e.violatedDirective}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with repaired(tmp_path_factory.mktemp("good")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with attacked(tmp_path_factory.mktemp("bad")) as daemon:
        yield daemon


@dataclass
class Visit:
    """`said`: what its console, its errors and its dialogs said; `asked`: all that it loaded."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def ran(self) -> list[str]:
        return list(self.page.evaluate("window.ran"))


@contextmanager
def visiting(browser: Browser, url: str, size: str = "desktop", scheme: ColorScheme = "light") -> Iterator[Visit]:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    visit = Visit(context.new_page())
    visit.page.on("console", lambda message: visit.said.append(f"{message.text} {message.location['url']}"))
    visit.page.on("pageerror", lambda error: visit.said.append(str(error)))
    visit.page.on("dialog", lambda dialog: visit.said.append(dialog.message))
    visit.page.on("request", lambda request: visit.asked.append(request.url))
    visit.page.add_init_script(WATCH)
    visit.page.goto(url, wait_until="load")
    yield visit
    context.close()


def is_about_the_icon(said: str) -> bool:
    """A browser asks for one by itself; there is none."""
    return said.endswith("/favicon.ico")


def test_what_others_wrote_is_shown_and_does_nothing(browser: Browser, bad: Inside) -> None:
    with visiting(browser, bad.url) as visit:
        page = visit.page
        for summary in page.locator("summary").all():
            summary.click()
        seen = page.locator("body").inner_text()
        assert visit.ran() == []
        assert [said for said in visit.said if not is_about_the_icon(said)] == []
        assert all(url.startswith(bad.url) for url in visit.asked)
        assert page.locator("script, iframe, object, form, input, [style], [onerror], [onload]").count() == 0
    assert seen.count(HOSTILE[:60]) >= 9
    assert "Content rejected" in seen
    assert f"Purchases are stopped (rate limit): {HOSTILE}" in seen
    assert "/<img src=x onerror=hack()>/app.db" in seen


def test_the_watch_sees_what_runs(browser: Browser) -> None:
    """Else the test above would prove nothing."""
    with visiting(browser, "about:blank") as visit:
        visit.page.set_content(f"<title>{HOSTILE}")
        visit.page.wait_for_function("window.ran.length >= 2")
        assert set(visit.ran()) == {"hack"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_every_screen(browser: Browser, good: Inside, size: str, scheme: ColorScheme) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    with visiting(browser, good.url, size, scheme) as visit:
        visit.page.screenshot(path=ARTEFACTS / f"page-{size}-{scheme}.png", full_page=True)
        assert wider_than_the_screen(visit.page) == []
        assert broken_pictures(visit.page) == 0
        assert visit.page.locator(".gallery img").count() >= len(SCENES)


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_not_even_hostile_texts_widen_it(browser: Browser, bad: Inside, size: str) -> None:
    with visiting(browser, bad.url, size) as visit:
        assert wider_than_the_screen(visit.page) == []


def wider_than_the_screen(page: Page) -> list[Any]:
    return list(
        page.evaluate("""[...document.querySelectorAll('body *')].filter(e => !e.closest('.unseen, .patterns, svg')
            && e.getClientRects().length && getComputedStyle(e).clipPath === 'none' && !e.matches('.skip')
            && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1))
            .map(e => e.outerHTML.slice(0, 100))
            .concat(document.documentElement.scrollWidth > innerWidth ? ['the page scrolls sideways'] : [])""")
    )


def broken_pictures(page: Page) -> int:
    return int(page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length"))


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("desktop", "light")])
def test_everybody_can_read_it(browser: Browser, good: Inside, size: str, scheme: ColorScheme) -> None:
    with visiting(browser, good.url, size, scheme) as visit:
        for summary in visit.page.locator("summary").all():
            summary.click()
        visit.page.emulate_media(reduced_motion="reduce")
        found = Axe().run(visit.page)
        assert found.violations_count == 0, found.generate_report()


def test_it_is_read_by_keyboard(browser: Browser, good: Inside) -> None:
    with visiting(browser, good.url) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        first = page.evaluate("[document.activeElement.className, document.activeElement.getBoundingClientRect().left]")
        assert first == ["skip", 0]
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("details").first.get_attribute("open") is not None
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_without_scripts_it_is_the_same(browser: Browser, good: Inside) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(good.url)
    assert page.locator("h1").inner_text().endswith("stuck")
    assert page.locator("svg.purchases rect").count() > 10
    context.close()
