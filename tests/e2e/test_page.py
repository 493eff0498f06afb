"""The history page in a real browser: each state, light and dark, wide and narrow, with and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .browser import Chromium, Tab, chromium
from .conftest import find
from .states import World, world

pytestmark = pytest.mark.e2e

NO_SIDEWAYS_SCROLLING = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
HOSTILE_HTML = '<p style="color: red"></p><img src="http://192.0.2.1/x.png">'
INSIDE = """(box => [...document.querySelectorAll("#probe-0 use")].every(mark => {
  const at = mark.getBoundingClientRect();
  const across = at.left >= box.left - 5 && at.right <= box.right + 5;
  return at.width > 5 && across && at.top >= box.top - 5 && at.bottom <= box.bottom + 5;
}))"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def running_chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A Chromium."""
    with chromium(find("chromium", "chromium"), tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def browser(running_chromium: Chromium) -> Iterator[Tab]:
    """A tab of it."""
    with running_chromium.tab() as tab:
        yield tab


@pytest.fixture
def apps() -> Iterator[World]:
    """A sidecar and its apps, not asked yet."""
    with world() as running:
        yield running


def bring(apps: World, state: str) -> None:
    """Bring the apps into a state."""
    if state != "empty":
        apps.be_healthy()
    if state == "failing":
        apps.be_slow()
        apps.be_healthy(2)
        apps.fail()
        apps.scan()


TEXTS = {
    "empty": ["Not asked yet", "waiting for the kubelet's first probe", "never", "Nobody."],
    "healthy": ["All 3 probes healthy", "since ", "0 of 3", "after start", "10 successes", "tcp://127.0.0.1:", "p99"],
    "failing": [
        "2 of 3 probes fail",
        "app answered 503; 4 in a row, the kubelet acts at 3",
        "connection refused",
        "2 of 3: one more and the kubelet acts",
        "<h1>no database</h1>\\x1b[2J\\xff",
        "no answer within 0.4 s",
        "4 not a configured path",
        "127.0.0.1",
    ],
}
"""What a person must be able to read in each state."""


@pytest.mark.parametrize(("dark", "width"), [(False, 1000), (True, 1000), (False, 360), (True, 360)])
@pytest.mark.parametrize("state", TEXTS)
def test_a_person_sees_the_state_and_the_browser_has_nothing_to_complain_about(
    apps: World, browser: Tab, state: str, dark: bool, width: int
) -> None:
    bring(apps, state)
    browser.open(apps.url, dark=dark, width=width)
    read = browser.text()
    assert [text for text in TEXTS[state] if text not in read] == []
    assert browser.evaluate(NO_SIDEWAYS_SCROLLING) is True
    assert browser.evaluate(BACKGROUND) == ("rgb(15, 19, 24)" if dark else "rgb(246, 247, 249)")
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith((apps.url, "data:image/svg+xml,"))] == []
    assert browser.evaluate("document.title") != "owned"


def test_the_policy_stops_what_would_slip_through(apps: World, browser: Tab) -> None:
    browser.open(apps.url)
    browser.evaluate(f"document.querySelector('main').innerHTML += {HOSTILE_HTML!r}")
    browser.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))")
    browser.evaluate("fetch('http://192.0.2.1/').catch(() => {})")
    browser.until("document.querySelector('main img').complete")
    assert browser.evaluate("document.title").startswith("not asked yet")
    told = " ".join([entry["entry"]["text"] for entry in browser.console])
    assert [directive for directive in ("style-src", "img-src", "script-src", "connect-src") if directive not in told] == []
    assert not [url for url in browser.requests if "192.0.2.1" in url]


def test_the_picture_shows_failures_in_a_shape_and_a_colour_of_their_own(apps: World, browser: Tab) -> None:
    bring(apps, "failing")
    browser.open(apps.url)
    assert browser.evaluate("document.querySelectorAll('#probe-0 use.failure').length") == 5
    crosses = browser.evaluate("getComputedStyle(document.querySelector('use.failure')).stroke")
    dots = browser.evaluate("getComputedStyle(document.querySelector('.chart .success')).stroke")
    assert crosses != dots
    assert browser.evaluate(f"{INSIDE}(document.querySelector('#probe-0 .chart').getBoundingClientRect())") is True


def test_the_page_follows_what_happens_and_keeps_what_was_unfolded(apps: World, browser: Tab) -> None:
    for _ in range(5):
        apps.be_healthy(1)
        apps.fail(1)
    browser.open(apps.url)
    browser.evaluate("document.querySelector('details').open = true; window.sameDocument = true")
    apps.be_healthy(1)
    browser.until("document.querySelector('#probe-0 .state').innerText === 'healthy'")
    assert browser.evaluate("document.querySelector('#probe-0 details').open && window.sameDocument") is True
    assert browser.evaluate("document.title").startswith("1 of 3 probes fail – ")
    assert browser.console == []


def test_the_page_leaves_a_selection_alone(apps: World, browser: Tab) -> None:
    browser.open(apps.url)
    browser.evaluate("getSelection().selectAllChildren(document.querySelector('main'))")
    apps.be_healthy(1)
    requests = len(browser.requests)
    browser.until("performance.now() > 7000")
    assert "Not asked yet" in browser.text()
    assert len(browser.requests) == requests
    browser.evaluate("getSelection().removeAllRanges()")
    browser.until("document.querySelector('h1').innerText === 'All 3 probes healthy'")


def test_the_page_says_so_when_the_sidecar_has_gone(apps: World, browser: Tab) -> None:
    apps.be_healthy(1)
    browser.open(apps.url)
    gone = "healthproxy does not answer"
    assert gone not in browser.text()
    apps.sidecar.process.kill()
    browser.until(f"document.body.innerText.includes('{gone}')")
    assert "All 3 probes healthy" in browser.text()


def test_without_javascript_the_page_is_whole_and_reloads_itself(apps: World, browser: Tab) -> None:
    browser.open(apps.url, javascript=False)
    assert [text for text in TEXTS["empty"] if text not in browser.text()] == []
    apps.be_healthy(1)
    browser.until("document.querySelector('h1').innerText === 'All 3 probes healthy'")
    assert browser.console == []
