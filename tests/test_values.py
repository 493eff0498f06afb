"""Single values: what is read, and what is refused with what to do."""

import pytest

from healthproxy import values
from healthproxy.values import Address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":15180", Address("", 15180)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:80", Address("::1", 80)),
        ("localhost:65535", Address("localhost", 65535)),
    ],
)
def test_an_address_is_read_and_written_the_same(text, expected):
    assert values.address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("raw", ["15180", "", "host", "::1:80", "[::1]", ":65536", ":http", ":-1", "a b:80", 15180, "[]:8x"])
def test_what_is_no_address_is_refused(raw):
    with pytest.raises(ValueError, match=r"; (write|give) "):
        values.address(raw)


@pytest.mark.parametrize("raw", ["off", False])
def test_the_admin_port_can_be_off(raw):
    assert values.address_or_off(raw) is None


@pytest.mark.parametrize(("raw", "expected"), [("0.5", 0.5), (2, 2.0), ("0", 0.0), (1.5, 1.5)])
def test_a_duration_is_a_number_of_seconds(raw, expected):
    assert values.seconds(raw) == expected


@pytest.mark.parametrize("raw", ["-1", "nan", "inf", "1s", "", True, None, [1], 10**400])
def test_what_is_no_duration_is_refused(raw):
    with pytest.raises(ValueError, match="; give"):
        values.seconds(raw)


@pytest.mark.parametrize("raw", [0, "0", "-0.1", float("nan")])
def test_a_timeout_that_is_not_positive_is_refused(raw):
    with pytest.raises(ValueError, match="is not positive; give seconds above 0"):
        values.positive_seconds(raw)


@pytest.mark.parametrize("raw", [0, 1.5, "x", -3, True])
def test_what_is_no_count_is_refused(raw):
    with pytest.raises(ValueError, match="; give"):
        values.count(raw)


def test_a_port_may_be_written_as_text_as_in_a_pod_spec():
    assert values.port("8080") == values.port(8080) == 8080


def test_a_port_name_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="names resolve only in the probed container; give the number"):
        values.port("http")


@pytest.mark.parametrize("raw", [0, 65536, -1, 1.5, "0"])
def test_what_is_no_port_is_refused(raw):
    with pytest.raises(ValueError, match="give a number from 1 to 65535"):
        values.port(raw)


@pytest.mark.parametrize("raw", ["10.0.0.0/8, fd00::/8", ["10.0.0.0/8", "fd00::/8"], "10.0.0.0/8 fd00::/8"])
def test_networks_come_as_a_list_or_as_one_text(raw):
    assert [str(network) for network in values.networks(raw)] == ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize("raw", ["10.0.0.1/8", "everyone", 7.5, "", " ", [""]])
def test_what_is_no_network_is_refused(raw):
    with pytest.raises(ValueError, match=r"; give (networks such as|one, or leave the option out)"):
        values.networks(raw)


@pytest.mark.parametrize(
    ("raw", "expected"), [("true", True), ("YES", True), (True, True), ("0", False), (False, False), ("off", False)]
)
def test_yes_and_no_have_their_usual_spellings(raw, expected):
    assert values.boolean(raw) is expected


def test_a_word_that_is_no_choice_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="'xml' is not known; give one of text, json"):
        values.choice("text", "json")("xml")
