"""Single values of the configuration: text or JSON → typed value, and back.

Each function takes what a flag, a variable or a file gave and raises ValueError with `what is wrong; what to do`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from healthproxy.kubelet import is_address
from healthproxy.probe import join_host_port

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[0-9A-Za-z._:%-]+")
_SHOWN = 100
"""Characters of a value that a problem quotes."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; an empty host means every address."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is configured."""
        return join_host_port(self.host, self.port)


def shown(raw: object) -> str:
    """Quote a value in a problem: never long, and of what holds other values no more than its kind."""
    match raw:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[raw]
        case list() | tuple() | set():
            return "a list"
        case dict():
            return "a mapping"
        case int() if raw.bit_length() > 4 * _SHOWN:  # Python refuses to write thousands of digits
            return "a number of hundreds of digits"
    text = repr(raw)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def name_of(key: object) -> str:
    """Name a key of a file; YAML has others than text."""
    return key if isinstance(key, str) else shown(key)


def seconds(raw: object) -> float:
    """Read a duration, zero included."""
    value = _number(raw)
    if not 0 <= value < math.inf:
        raise ValueError(f"{_bare(raw)} is no duration; give seconds, 0 or more")
    return value


def positive_seconds(raw: object) -> float:
    """Read a duration above zero."""
    if not 0 < (value := _number(raw)) < math.inf:
        raise ValueError(f"{_bare(raw)} is not positive; give seconds above 0")
    return value


def count(raw: object) -> int:
    """Read a whole number above zero."""
    value = _number(raw)
    if not 1 <= value < math.inf or value != int(value):
        raise ValueError(f"{_bare(raw)} is no count; give a whole number, 1 or more")
    return int(value)


def port(raw: object) -> int:
    """Read a port number, which a Pod spec may write as text."""
    if isinstance(raw, str) and re.search("[A-Za-z]", raw):
        raise ValueError(f"port {shown(raw)} is a name, and names resolve only in the probed container; give the number")
    value = _number(raw) if not isinstance(raw, str) or raw.isdecimal() else 0
    if not 1 <= value <= 65535 or value != int(value):
        raise ValueError(f"{_bare(raw) or shown(raw)} is no port; give a number from 1 to 65535")
    return int(value)


def host(raw: object) -> str:
    """Read a host name or address, without port and brackets."""
    try:
        if isinstance(raw, str) and _HOST.fullmatch(raw) and (is_address(raw) or _is_name(raw)):
            return raw
    except UnicodeError:  # an empty or over-long label
        pass
    raise ValueError(f"{shown(raw)} is no host; give a name or an address, without port and brackets")


def _is_name(raw: str) -> bool:
    return not {":", "%"} & set(raw) and bool(raw.encode("idna"))


def socket_path(raw: object) -> str:
    """Read the path of a socket file; the kernel takes 107 bytes, and the config file's place is no base for it."""
    if not isinstance(raw, str) or not raw.startswith("/") or not raw.isprintable() or len(raw.encode()) > 107:
        raise ValueError(f"{shown(raw)} is no socket file; give an absolute path of at most 107 bytes")
    return raw


def address(raw: object) -> Address:
    """Read `HOST:PORT` or `:PORT`; port 0 takes any free one."""
    name, colon, number = str(raw).rpartition(":") if isinstance(raw, str) else ("", "", "")
    bracketed = name.startswith("[") and name.endswith("]")
    if not colon or not number.isdecimal() or len(number) > 5 or int(number) > 65535 or (":" in name and not bracketed):
        raise ValueError(f"{shown(raw)} is no address; write HOST:PORT, [IPV6]:PORT or :PORT")
    name = name[1:-1] if bracketed else name
    return Address(host(name) if name else "", int(number))


def address_or_off(raw: object) -> Address | None:
    """Read an address, or `off`; `false` is what some tools make of an `off` in YAML."""
    return None if raw in ("off", False) else address(raw)


def networks(raw: object) -> tuple[Network, ...]:
    """Read a list of CIDRs, or one text with commas or blanks between them."""
    entries = raw if isinstance(raw, list) else [raw]
    try:
        found = tuple([ipaddress.ip_network(part) for entry in entries for part in str(entry).replace(",", " ").split()])
    except ValueError as error:
        raise ValueError(f"{error}; give networks such as 10.0.0.0/8 or fd00::/8") from None
    if entries and not found:
        raise ValueError("holds no network, and none would mean any; give one, or leave the option out")
    return found


def boolean(raw: object) -> bool:
    """Read yes or no."""
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    value = known.get(str(raw).lower()) if isinstance(raw, str | bool | int) else None
    if value is None:
        raise ValueError(f"{shown(raw)} is neither; give true or false")
    return value


def choice(*allowed: str) -> Callable[[object], str]:
    """Make a reader of one word of several."""

    def read(raw: object) -> str:
        if raw not in allowed:
            raise ValueError(f"{shown(raw)} is not known; give one of {', '.join(allowed)}")
        return str(raw)

    return read


def dump(value: object) -> Any:
    """Write a value as JSON knows it, so that reading it gives the same one."""
    match value:
        case None:
            return "off"
        case Address():
            return str(value)
        case tuple():
            return [str(entry) for entry in value]
    return value


def _bare(raw: object) -> str:
    """Show a number alike, whether it came as one or as text."""
    return shown(raw).strip("'")


def _number(raw: object) -> float:
    try:
        return float(raw if isinstance(raw, str | int | float) and not isinstance(raw, bool) else "none")
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(raw)} is not a number; give one") from None
