"""What is said of a history: percentiles and warnings, the JSON that programs rely on, the text for curl."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthproxy.history import FAILURES, RECENT, SNIPPET
from healthproxy.history import REFUSALS as REFUSALS_KEPT
from healthproxy.metrics import REFUSALS
from healthproxy.probe import AllOf, HTTPGet, Outcome, Probe, Reason
from healthproxy.report import make_report, render_json, render_text
from healthproxy.report.summary import EarlyWarning, printable
from healthproxy.report.words import REFUSALS as REFUSAL_WORDS
from healthproxy.report.words import clock, duration, span
from tests.histories import HUNG, OUR_FAULT, SICK, START, WELL, Clock, history_of, report_of

DOCUMENTED = Path(__file__).parents[1] / "docs" / "history.md"
ESCAPE = b"\x1b[2J\x1b]0;owned\x07"


def slow(seconds: float) -> Outcome:
    """Return a success that took so long."""
    return Outcome(Reason.OK, "app answered 200", 200, seconds)


def names_of(heading: str, columns: int = 2) -> set[str]:
    """Return the names that the table behind a line of the documentation tells."""
    table = DOCUMENTED.read_text().split(f"\n{heading}\n")[1].split("|" + "---|" * columns + "\n")[1].split("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


# percentiles and warnings


def test_percentiles_are_durations_that_were_measured_failures_included():
    (probe,) = report_of(*[slow(number / 1000) for number in range(1, 100)], HUNG).probes
    assert probe.durations is not None
    told = (probe.durations.p50, probe.durations.p95, probe.durations.p99, probe.durations.max)
    assert [round(seconds, 6) for seconds in told] == [0.05, 0.095, 0.099, 0.9012]


def test_a_fault_of_our_own_has_no_duration():
    assert report_of(OUR_FAULT).probes[0].durations is None


@pytest.mark.parametrize(
    ("outcomes", "later", "warnings"),
    [
        ([WELL], 0, []),
        ([WELL, SICK], 0, []),
        ([WELL, SICK, SICK], 0, ["last_chance"]),
        ([WELL, SICK, SICK, WELL], 0, []),
        ([WELL, SICK, SICK, SICK], 0, []),
        ([slow(0.79)], 0, []),
        ([slow(0.81)], 0, ["near_timeout"]),
        ([*[slow(0.81)] * 3, *[WELL] * (RECENT - 3)], 0, []),
        ([WELL], 30, []),
        ([WELL], 31, ["not_asked"]),
        ([], 30, []),
        ([], 31, ["not_asked"]),
    ],
)
def test_warnings_come_before_it_hurts(outcomes, later, warnings):
    assert report_of(*outcomes, later=later).probes[0].warnings == tuple(warnings)


def test_a_probe_that_may_not_fail_once_has_no_last_chance():
    probe = Probe("/healthy", HTTPGet(8080), failure_threshold=1)
    assert report_of(WELL, probe=probe).probes[0].warnings == ()


@pytest.mark.parametrize(
    ("outcomes", "why"), [([SICK, WELL], None), ([WELL, SICK], "app answered 503"), ([WELL, OUR_FAULT], OUR_FAULT.detail)]
)
def test_why_is_told_until_the_next_success(outcomes, why):
    (probe,) = report_of(*outcomes).probes
    assert (probe.why and probe.why.detail) == why


# what the app wrote


@pytest.mark.parametrize(
    ("body", "cut", "shown"),
    [
        (b"no database\r\nno cache\n", False, "no database\nno cache\n"),
        ("käse ☃".encode(), False, "käse ☃"),
        (b"\xff\xfe", False, r"\xff\xfe"),
        ("☃".encode()[:2], True, ""),
        ("☃".encode()[:2], False, r"\xe2\x98"),
        (ESCAPE, False, r"\x1b[2J\x1b]0;owned\x07"),
        ("\u202egpj.exe\u200b\ufeff\x9b\x7f\0\t".encode(), False, r"\u202egpj.exe\u200b\ufeff\x9b\x7f\x00\t"),
    ],
)
def test_what_cannot_be_printed_is_escaped(body, cut, shown):
    assert printable(body, cut) == shown


@given(st.binary(max_size=256), st.booleans())
def test_whatever_the_app_says_is_text_that_can_be_printed(body, cut):
    assert printable(body, cut).replace("\n", "").isprintable()


# JSON


def test_the_json_has_the_names_that_are_documented_and_no_others():
    document = json.loads(render_json(report_of(WELL, SICK, refused=[("method", "10.0.0.1")])))
    (probe,) = document["probes"]
    assert set(document) == names_of("## `/history`")
    assert set(probe) == names_of("Of a probe:")
    assert set(probe["recent"][0]) == {"time", "result", "reason", "code", "duration_seconds"}
    assert set(probe["duration_seconds"]) == {"p50", "p95", "p99", "max"}
    assert set(probe["failures"][0]) == names_of("Of a failure:")
    assert set(document["refused"][0]) == {"reason", "count", "last"}
    assert set(document["refused_lately"][0]) == {"reason", "source", "count", "last"}


def test_the_documentation_tells_the_warnings_and_the_limits_there_are():
    assert names_of("## Early warnings", columns=3) == set(EarlyWarning)
    text = DOCUMENTED.read_text()
    for limit in (
        f"The last {RECENT} requests",
        f"the last {FAILURES} failures",
        f"first {SNIPPET} bytes",
        f"{REFUSALS_KEPT} pairs",
    ):
        assert limit in text


def test_the_json_of_a_failing_probe():
    document = json.loads(render_json(report_of(WELL, SICK, SICK, later=5, refused=[("method", "10.0.0.1")])))
    (probe,) = document["probes"]
    recent, failures = probe.pop("recent"), probe.pop("failures")
    assert probe == {
        "probe": "/healthy",
        "target": "http://127.0.0.1:8080/healthy",
        "result": "failure",
        "since": START + 2,
        "warnings": ["last_chance"],
        "consecutive_failures": 2,
        "failure_threshold": 3,
        "timeout_seconds": 1.0,
        "deadline_seconds": 0.9,
        "period_seconds": 10.0,
        "last_request": START + 3,
        "last_success": START + 1,
        "first_success_seconds": 1.0,
        "duration_seconds": {"p50": 0.004, "p95": 0.004, "p99": 0.004, "max": 0.004},
    }
    assert recent[0] == {"time": START + 1, "result": "success", "reason": "ok", "code": 200, "duration_seconds": 0.002}
    assert failures == [
        {
            "first": START + 2,
            "last": START + 3,
            "count": 2,
            "result": "failure",
            "reason": "status",
            "detail": "app answered 503",
            "code": 503,
            "duration_seconds": 0.004,
            "body": "no database\n",
            "body_cut": False,
        }
    ]
    assert (document["time"], document["uptime_seconds"]) == (START + 8, 8)
    assert document["refused"] == [{"reason": "method", "count": 1, "last": START + 3}]
    assert document["refused_lately"] == [{"source": "10.0.0.1", "reason": "method", "count": 1, "last": START + 3}]


def test_the_json_before_the_first_probe():
    (probe,) = json.loads(render_json(report_of()))["probes"]
    unknown = ("result", "since", "last_request", "last_success", "first_success_seconds", "duration_seconds")
    assert {name: probe[name] for name in unknown} == dict.fromkeys(unknown)
    assert (probe["recent"], probe["failures"], probe["warnings"], probe["consecutive_failures"]) == ([], [], [], 0)


@given(st.binary(max_size=300))
def test_whatever_the_app_says_the_json_is_ascii_without_control_characters(body):
    text = render_json(report_of(Outcome(Reason.STATUS, "app answered 500", 500, body=body)))
    assert re.fullmatch(r"[\x20-\x7e]+\n", text)
    assert json.loads(text)["probes"][0]["failures"][0]["body"] == printable(body[:256], len(body) > 256)


# text


def test_the_text_says_at_once_what_is_wrong():
    text = render_text(report_of(WELL, SICK, SICK, later=65, refused=[("unknown_path", "10.0.0.1")] * 3))
    lines = text.splitlines()
    assert re.fullmatch(r"healthproxy \S+ on \S+, up 1 min 8 s: the probe fails", lines[0])
    assert re.split(r"  +", lines[2]) == "STATE,PROBE,FOR,FAILURES,LAST SUCCESS,ASKED,P50,P99,DEADLINE,WHY".split(",")
    shown = "failing,/healthy,1 min 6 s,2 of 3,1 min 7 s ago,1 min 5 s ago,4 ms,4 ms,900 ms,app answered 503"
    assert re.split(r"  +", lines[3]) == shown.split(",")
    assert "/healthy: 2 of 3: one more and the kubelet acts" in lines
    assert "/healthy: no probe for 6 periods: " in text
    assert "refused 3: not a configured path, last 1 min 5 s ago" in lines
    assert "/history  all of it as JSON" in lines


def test_the_text_holds_nothing_that_the_app_wrote():
    assert "owned" not in render_text(report_of(Outcome(Reason.STATUS, "app answered 500", 500, body=ESCAPE)))


def test_every_reason_to_refuse_has_words():
    assert set(REFUSAL_WORDS) == set(REFUSALS)


@pytest.mark.parametrize(
    ("results", "headline"),
    [
        ({}, "not asked yet"),
        ({"/a": WELL}, "1 of 2 probes healthy, the others not asked yet"),
        ({"/a": WELL, "/b": WELL}, "all 2 probes healthy"),
        ({"/a": WELL, "/b": SICK}, "1 of 2 probes fail"),
        ({"/b": SICK}, "1 of 2 probes fail"),
    ],
)
def test_one_line_says_the_state_of_all_probes(results, headline):
    probes = [Probe("/a", HTTPGet(8080)), Probe("/b", AllOf(("/a",)))]
    history = history_of(clock=Clock())
    for probe in probes:
        if probe.key in results:
            history.observe(probe, results[probe.key])
    assert render_text(make_report(history, probes)).splitlines()[0].endswith(f": {headline}")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.00042, "0.42 ms"),
        (0.0123, "12.3 ms"),
        (0.9, "900 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (2.5, "2.5 s"),
        (60, "60 s"),
    ],
)
def test_durations_are_written_in_three_digits(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (7205, "2 h"),
        (273600, "3 d 4 h"),
        (1e9, "11574 d 1 h"),
    ],
)
def test_ages_are_written_in_their_two_largest_units(seconds, shown):
    assert span(seconds) == shown


def test_a_time_of_another_day_has_its_date():
    assert (clock(START, START + 60), clock(START, START + 86400)) == ("08:00:00", "2027-01-15 08:00:00")
