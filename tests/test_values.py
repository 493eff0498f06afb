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


@pytest.mark.parametrize(
    "raw",
    [
        "15180",
        "",
        "host",
        "::1:80",
        "[::1]",
        ":65536",
        ":http",
        ":-1",
        "a b:80",
        15180,
        "[]:8x",
        "[a:b]:80",
        ":" + "1" * 5000,
        [":80"],
    ],
)
def test_what_is_no_address_is_refused(raw):
    with pytest.raises(ValueError, match=r"; (write|give) "):
        values.address(raw)


@pytest.mark.parametrize("raw", ["off", False])
def test_the_admin_port_can_be_off(raw):
    assert values.address_or_off(raw) is None


@pytest.mark.parametrize(("raw", "expected"), [("0.5", 0.5), (2, 2.0), ("0", 0.0), (1.5, 1.5)])
def test_a_duration_is_a_number_of_seconds(raw, expected):
    assert values.seconds(raw) == expected


@pytest.mark.parametrize("raw", ["-1", "nan", "inf", "1s", "", True, None, [1], {}, 10**400, pytest.param(1 << 99_999, id="hex")])
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


@pytest.mark.parametrize("raw", ["app", "app.shop.svc.cluster.local", "my_app", "10.0.0.7", "::1", "fe80::1%eth0", "x" * 63])
def test_a_host_is_a_name_or_an_address(raw):
    assert values.host(raw) == raw


@pytest.mark.parametrize(
    "raw", ["", "a b", "a/b", "a:80", "[::1]", "a..b", "a%b", "1::2::3", "ü.example", "x" * 64, "::1%\n", 7, None, ["a"]]
)
def test_what_is_no_host_is_refused(raw):
    with pytest.raises(ValueError, match="is no host; give a name or an address, without port and brackets"):
        values.host(raw)


@pytest.mark.parametrize("raw", ["/run/app.sock", "/" + "x" * 106, "/" + "ü" * 53])
def test_a_socket_file_is_an_absolute_path_of_107_bytes(raw):
    assert values.socket_path(raw) == raw


@pytest.mark.parametrize("raw", ["app.sock", "", "/" + "x" * 107, "/" + "ü" * 54, "/a\0", "/\ud800", b"/run", None])
def test_what_is_no_socket_file_is_refused(raw):
    with pytest.raises(ValueError, match="is no socket file; give an absolute path of at most 107 bytes"):
        values.socket_path(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, "null"),
        (False, "false"),
        ("a\n", r"'a\n'"),
        ("x" * 1000, "'" + "x" * 98 + "…"),
        (7.5, "7.5"),
        (10**400, "a number of hundreds of digits"),
        ([[]], "a list"),
        ((1, 2), "a list"),
        ({"a": "b"}, "a mapping"),
    ],
)
def test_a_value_is_quoted_briefly(raw, text):
    assert values.shown(raw) == text


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a", "a"),
        (80, "80"),
        (True, "true"),
        (("a",), "a list"),
        pytest.param(1 << 99_999, "a number of hundreds of digits", id="hex"),
    ],
)
def test_a_key_that_is_no_text_has_a_name(key, text):
    assert values.name_of(key) == text
