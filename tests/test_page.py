"""The page: what a person finds on it, that nothing the app or a caller wrote does anything there, and how it is served."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthproxy.history import RECENT
from healthproxy.probe import AllOf, HTTPGet, Outcome, Probe, Reason
from healthproxy.report import PAGE_HEADERS, Report, make_report, render_page
from healthproxy.report.markup import Markup, element
from tests import app
from tests.histories import HUNG, OUR_FAULT, PROBE, SICK, WELL, Clock, history_of, report_of
from tests.sidecar import Answer, Caller, http_get, sidecar, take_apart

HOSTILE = b"</pre><script>alert(1)</script><img src=x onerror=alert(2)>'\"&lt;\x1b[2J\xff\xfe\0\xe2\x80\xae"
EMPTY_ELEMENTS = ("meta", "link")


class Reader(HTMLParser):
    """A page, taken apart as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.content.setdefault(self.open[-1] if self.open else "", []).append(data)

    @property
    def text(self) -> str:
        """What a person reads."""
        return " ".join([word for tag, parts in self.content.items() if tag not in ("style", "script") for word in parts])

    def count(self, tag: str, **attributes: str) -> int:
        """Count elements."""
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.elements)


def read(report: Report) -> Reader:
    """Return the page of a report; every element of it is closed."""
    reader = Reader(render_page(report))
    assert reader.open == []
    return reader


def said(body: bytes) -> Outcome:
    """Return the outcome of an app that says this, and is not well."""
    return Outcome(Reason.STATUS, "app answered 500", 500, 0.001, body)


# what a person finds


@pytest.mark.parametrize(
    ("outcomes", "title", "texts"),
    [
        ([], "not asked yet – ", ["Not asked yet", "waiting for the kubelet's first probe", "never", "not yet"]),
        ([WELL] * 4, "healthy – ", ["Healthy", "since 08:00:01 UTC, 3 s", "0 of 3", "1.0 s after start", "2 ms", "4 successes"]),
        (
            [WELL, SICK, SICK],
            "the probe fails – ",
            [
                "The probe fails",
                "failing",
                "app answered 503",
                "2 of 3: one more and the kubelet acts",
                "no database\n",
                "2 failures",
            ],
        ),
        (
            [WELL, *[HUNG] * 7],
            "the probe fails – ",
            ["no answer within 0.9 s; 7 in a row, the kubelet acts at 3", "90% of timeoutSeconds"],
        ),
        ([WELL, SICK, WELL], "healthy – ", ["Last failures", "app answered 503", "status · 4 ms · 08:00:02 UTC · 1 s ago"]),
        ([WELL, OUR_FAULT], "healthy – ", [OUR_FAULT.detail, "1 unknown"]),
    ],
)
def test_the_page_says_what_a_person_needs(outcomes, title, texts):
    page = read(report_of(*outcomes))
    assert page.content["title"][0].startswith(title)
    assert [text for text in texts if text not in page.text] == []
    assert "http://127.0.0.1:8080/healthy" in page.text


def test_a_probe_that_nobody_asks_any_more_is_told():
    page = read(report_of(WELL, later=65))
    assert "no probe for 6 periods" in page.text
    assert "Healthy, 1 warning" in page.text
    assert page.count("h1", **{"class": "warning"}) == 1


def test_failing_probes_stand_first():
    probes = [Probe("/well", HTTPGet(8080)), Probe("/new", HTTPGet(8080)), Probe("/sick", AllOf(("/well",)))]
    history = history_of(clock=Clock())
    history.observe(probes[0], WELL)
    history.observe(probes[2], SICK)
    page = read(make_report(history, probes))
    assert [found["id"] for tag, found in page.elements if tag == "section"] == ["probe-2", "probe-1", "probe-0", "refused"]
    assert [found["href"] for tag, found in page.elements if tag == "a"][:3] == ["#probe-0", "#probe-1", "#probe-2"]


def test_more_failures_than_a_person_reads_are_folded_away():
    page = read(report_of(*[SICK, WELL] * 10))
    assert page.text.count("app answered 503") == 10
    assert page.count("details") == 1
    assert "7 earlier" in page.text


def test_refused_callers_are_told_with_reason_address_and_count():
    page = read(report_of(later=5, refused=[("unknown_path", "10.0.0.1"), ("method", "fd00::7"), ("unknown_path", "10.0.0.1")]))
    assert "Since the start: 2 not a configured path, 1 neither GET nor HEAD." in page.text
    latest, earlier = ["not a configured path", "10.0.0.1", "2", "5 s"], ["neither GET nor HEAD", "fd00::7", "1", "5 s"]
    assert page.content["td"] == latest + earlier
    assert "Nobody." in read(report_of()).text


# the picture


def test_each_result_has_a_shape_of_its_own():
    page = read(report_of(*[WELL] * 5, SICK, HUNG, OUR_FAULT))
    (dots,) = [found["d"] for tag, found in page.elements if tag == "path" and found.get("class") == "success"]
    assert dots is not None
    assert dots.count("h0") == 5
    assert page.count("use", href="#failure") == 2
    assert page.count("use", href="#unknown") == 1
    assert page.count("path", id="failure") == page.count("path", id="unknown") == 1
    (label,) = [found["aria-label"] for tag, found in page.elements if tag == "svg" and "aria-label" in found]
    assert label == "Durations of the last 8 requests to the app, 2 of them failures; deadline 900 ms"


@pytest.mark.parametrize(
    ("durations", "later"),
    [([0.0], 0), ([1e-9, 100.0], 0), ([0.9], 1e6), ([0.001] * RECENT, 0), ([0.9, 0.0001, 0.02], -100)],
)
@pytest.mark.parametrize("deadline", [0.9, 1e-5, 1e-4 / 1.5, 3600.0])
def test_marks_stay_in_the_picture_whatever_was_measured(durations, later, deadline):
    outcomes = [Outcome(Reason.OK, "app answered 200", 200, seconds) for seconds in durations]
    page = read(report_of(*outcomes, later=later, probe=Probe("/healthy", HTTPGet(8080), deadline)))
    (dots,) = [found["d"] for tag, found in page.elements if tag == "path" and found.get("class") == "success"]
    marks = [(float(x), float(y)) for x, y in re.findall(r"M([\d.-]+) ([\d.-]+)h0", dots or "")]
    assert len(marks) == len(durations)
    assert all(0 <= x <= 1000 and 0 <= y <= 132 for x, y in marks)


def test_marks_stay_in_the_picture_though_somebody_sets_the_clock():
    clock = Clock()
    history = history_of(WELL, WELL, clock=clock)
    clock.now -= 3600
    history.observe(PROBE, SICK)
    page = read(make_report(history, [PROBE]))
    marks = [found["x"] or "" for tag, found in page.elements if tag == "use"]
    assert [0 <= float(x.rstrip("%")) <= 100 for x in marks] == [True]


def test_a_longer_duration_is_higher_up_and_the_deadline_higher_still():
    page = read(report_of(*[Outcome(Reason.OK, "app answered 200", 200, seconds) for seconds in (0.002, 0.02, 0.2)]))
    (dots,) = [found["d"] for tag, found in page.elements if tag == "path" and found.get("class") == "success"]
    heights = [float(y) for y in re.findall(r" ([\d.]+)h0", dots or "")]
    (deadline,) = [float(found["y1"] or 0) for tag, found in page.elements if tag == "line" and found["class"] == "deadline"]
    assert heights == sorted(heights, reverse=True)
    assert deadline < min(heights)


# hostile bytes


def test_what_the_app_wrote_is_text_and_nothing_more():
    harmless, hostile = read(report_of(said(b"x"))), read(report_of(said(HOSTILE)))
    assert hostile.elements == harmless.elements
    shown = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>'\"&lt;\\x1b[2J\\xff\\xfe\\x00\\u202e"
    assert hostile.content["pre"] == [shown]


@settings(max_examples=25)
@given(st.binary(max_size=256))
def test_whatever_the_app_says_the_page_has_the_same_elements(body):
    assert read(report_of(said(b"x" + body))).elements == read(report_of(said(b"x"))).elements


@given(st.text(), st.text())
def test_an_element_holds_any_text_and_any_value(text, value):
    page = Reader(element("p", text, title=value))
    assert page.count("p") == len(page.elements) == 1


def test_only_markup_is_not_escaped():
    assert element("p", "<b>", Markup("<i></i>"), class_="a", hidden=None) == '<p class="a">&lt;b&gt;<i></i></p>'


# what a browser may do with it


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else():
    page = read(report_of(WELL, said(HOSTILE)))
    policy = dict(part.split(" ", 1) for part in PAGE_HEADERS["Content-Security-Policy"].split("; "))
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = page.content[tag]
        assert policy.pop(directive) == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("connect-src") == "'self'"
    assert policy.pop("img-src") == "data:"
    assert set(policy.values()) == {"'none'"}


def test_nothing_on_the_page_comes_from_elsewhere_or_needs_more_than_the_policy_allows():
    page = read(report_of(*[WELL, SICK] * 10, refused=[("method", "10.0.0.1")]))
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcset", "action")]
        assert (attributes.get("href") or "/").startswith(("/", "#", "data:image/svg+xml,"))
    assert "url(" not in page.content["style"][0]
    assert "@import" not in page.content["style"][0]


def test_without_javascript_the_page_reloads_itself():
    page = Reader(render_page(report_of()))
    assert page.count("noscript") == 1
    assert page.count("meta", **{"http-equiv": "refresh", "content": "5"}) == 1


# as it is served


async def fetch(caller: Caller, path: str, *headers: str, method: str = "GET") -> Answer:
    """Ask the admin port."""
    request = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""])
    return take_apart(await caller.send(request.encode(), caller.admin_port))


async def test_browsers_get_a_page_and_curl_gets_text():
    async with app.serving() as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        await caller.get()
        page = await fetch(caller, "/", "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
        text = await fetch(caller, "/", "Accept: */*")
        history = await fetch(caller, "/history")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert {name.lower(): value for name, value in PAGE_HEADERS.items()}.items() <= page.headers.items()
    assert "Healthy" in Reader(page.body.decode()).text
    assert (text.headers["content-type"], text.headers["vary"]) == ("text/plain; charset=utf-8", "Accept")
    assert b": healthy\n" in text.body
    assert (history.headers["content-type"], history.headers["cache-control"]) == ("application/json", "no-store")
    assert json.loads(history.body)["probes"][0]["result"] == "success"


@pytest.mark.parametrize("path", ["/", "/history"])
async def test_only_get_and_head_are_served_there(path):
    async with sidecar({"/healthy": http_get(1)}) as caller:
        head, post = await fetch(caller, path, method="HEAD"), await fetch(caller, path, method="POST")
    assert (head.status, head.body, post.status) == (200, b"", 405)
    assert int(head.headers["content-length"]) > 100


@pytest.mark.parametrize("body", [HOSTILE, b"<html>" * 1_700_000], ids=["hostile", "ten megabytes"])
async def test_a_hostile_body_does_no_harm_on_the_page_in_json_in_text_or_in_the_log(caplog, body):
    caplog.set_level("DEBUG")
    async with app.serving(app.answer(503, body)) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        assert (await caller.get()).status == 503
        page = await fetch(caller, "/", "Accept: text/html")
        text, history = await fetch(caller, "/"), await fetch(caller, "/history")
    assert Reader(page.body.decode()).elements
    assert b"<script>alert" not in page.body
    assert re.fullmatch(rb"[\x20-\x7e]+\n", history.body)
    (failure,) = json.loads(history.body)["probes"][0]["failures"]
    assert failure["body"].startswith(body[:6].decode())
    assert failure["body_cut"] == (len(body) > 256)
    assert len(page.body) + len(text.body) + len(history.body) < 30_000
    assert re.fullmatch(r"[\x20-\x7e\n]+", text.body.decode())
    assert not [message for message in caplog.messages if "<" in message or not message.isprintable()]


async def test_of_refused_callers_nothing_is_shown_that_they_wrote():
    async with sidecar({"/healthy": http_get(1)}) as caller:
        secret = "/" + "5ecret" * 20
        assert (await caller.get(secret)).status == 404
        assert (await caller.ask(b"5ECRET / HTTP/1.1\r\nHost: 5ecret\r\n\r\n")).status == 405
        answers = [await fetch(caller, "/", "Accept: text/html"), await fetch(caller, "/"), await fetch(caller, "/history")]
    assert not [answer for answer in answers if b"5ecret" in answer.body.lower()]
    told = [(refused["reason"], refused["source"], refused["count"]) for refused in json.loads(answers[2].body)["refused_lately"]]
    assert told == [("unknown_path", "127.0.0.1", 1), ("method", "127.0.0.1", 1)]
