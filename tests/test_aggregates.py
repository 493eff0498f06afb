"""What only the whole table can say of allOf and anyOf, and each refusal with its exact text."""

import json

import pytest

from healthproxy.probe import AllOf, AnyOf
from tests.test_config import parse_probes, problems

TCP = {"tcpSocket": {"port": 5432}}


def refusals(**table: object) -> list[str]:
    """Return what is said of a table; `a` stands for the key /a."""
    return problems(HEALTHPROXY_PROBES=json.dumps({"/" + key: stanza for key, stanza in table.items()}))


def circle(*keys: str) -> str:
    return f"probe {keys[0]}: is a member of itself by {' -> '.join(keys)}; take one of them out"


def test_aggregates_ask_probes_and_other_aggregates_wherever_these_stand():
    probes = {
        probe.key: probe for probe in parse_probes(all={"allOf": ["/any", "/a"]}, any={"anyOf": ["/b", "/a"]}, a=TCP, b=TCP)
    }
    assert list(probes) == ["/all", "/any", "/a", "/b"]
    assert (probes["/all"].action, probes["/any"].action) == (AllOf(("/any", "/a")), AnyOf(("/b", "/a")))
    assert (str(probes["/all"].action), str(probes["/any"].action)) == ("all of /any, /a", "any of /b, /a")
    assert probes["/all"].endpoint is None


def test_two_ways_to_one_member_are_no_circle():
    assert parse_probes(top={"allOf": ["/l", "/r"]}, l={"allOf": ["/x"]}, r={"anyOf": ["/x"]}, x=TCP)


def test_an_aggregate_lets_pass_what_its_members_let_pass_at_any_depth():
    found = parse_probes(
        top={"allOf": ["/mid", "/b", "/c"]},
        mid={"anyOf": ["/a"]},
        a={"httpGet": {"port": 1}, "forwardHeaders": ["X-A", "X-B"]},
        b={"httpGet": {"port": 2}, "forwardHeaders": ["x-b", "X-C"]},
        c=TCP,
    )
    headers = {probe.key: probe.forward_headers for probe in found}
    assert headers["/top"] == ("x-a", "x-b", "x-c")
    assert headers["/mid"] == ("x-a", "x-b")
    assert headers["/c"] == ()


@pytest.mark.parametrize("kind", ["allOf", "anyOf"])
def test_a_member_that_is_no_probe_is_refused(kind):
    assert refusals(a=TCP, b=TCP, x={kind: ["/a", "/c", "b"]}) == [
        "probe /x: its member /c is no probe; give one of /a, /b, or add it",
        "probe /x: its member b is no probe; give one of /a, /b, or add it",
    ]
    assert refusals(x={kind: ["/a\n"]}) == [r"probe /x: its member /a\n is no probe; add it"]


def test_a_member_with_a_problem_of_its_own_is_no_second_problem():
    assert refusals(db={"tcpSocket": {"port": "postgres"}}, x={"allOf": ["/db"]}) == [
        "HEALTHPROXY_PROBES./db.tcpSocket.port: port 'postgres' is a name, and names resolve only in the probed container; "
        "give the number"
    ]


def test_circles_of_one_two_and_three_are_refused():
    assert refusals(x={"allOf": ["/x"]}) == [circle("/x", "/x")]
    assert refusals(a=TCP, x={"anyOf": ["/a", "/y"]}, y={"allOf": ["/x"]}) == [circle("/x", "/y", "/x")]
    (line,) = refusals(x={"allOf": ["/y"]}, y={"allOf": ["/z"]}, z={"anyOf": ["/x"]})
    assert line in (circle("/x", "/y", "/z", "/x"), circle("/y", "/z", "/x", "/y"), circle("/z", "/x", "/y", "/z"))


def test_every_circle_is_told_at_once_also_those_that_touch():
    apart = refusals(a={"allOf": ["/b"]}, b={"allOf": ["/a"]}, c={"anyOf": ["/d"]}, d={"anyOf": ["/c"]})
    assert apart == [circle("/a", "/b", "/a"), circle("/c", "/d", "/c")]
    touching = refusals(a={"allOf": ["/b", "/c"]}, b={"allOf": ["/a"]}, c={"anyOf": ["/a"]})
    assert sorted(touching) == [circle("/a", "/b", "/a"), circle("/a", "/c", "/a")]
