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

from healthproxy.probe import join_host_port

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[0-9A-Za-z._:%-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; an empty host means every address."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is configured."""
        return join_host_port(self.host, self.port)


def seconds(raw: object) -> float:
    """Read a duration, zero included."""
    value = _number(raw)
    if not 0 <= value < math.inf:
        raise ValueError(f"{raw} is no duration; give seconds, 0 or more")
    return value


def positive_seconds(raw: object) -> float:
    """Read a duration above zero."""
    if not 0 < (value := _number(raw)) < math.inf:
        raise ValueError(f"{raw} is not positive; give seconds above 0")
    return value


def count(raw: object) -> int:
    """Read a whole number above zero."""
    value = _number(raw)
    if not 1 <= value < math.inf or value != int(value):
        raise ValueError(f"{raw} is no count; give a whole number, 1 or more")
    return int(value)


def port(raw: object) -> int:
    """Read a port number, which a Pod spec may write as text."""
    if isinstance(raw, str) and not raw.isdecimal():
        raise ValueError(f"port {raw!r} is a name, and names resolve only in the probed container; give the number")
    value = _number(raw)
    if value not in range(1, 65536):
        raise ValueError(f"{raw} is no port; give a number from 1 to 65535")
    return int(value)


def host(raw: object) -> str:
    """Read a host name or address, without port and brackets."""
    try:
        if isinstance(raw, str) and _HOST.fullmatch(raw) and raw.encode("idna"):
            return raw
    except UnicodeError:  # an empty or over-long label
        pass
    raise ValueError(f"{raw!r} is no host; give a name or an address, without port and brackets")


def address(raw: object) -> Address:
    """Read `HOST:PORT` or `:PORT`; port 0 takes any free one."""
    name, colon, number = str(raw).rpartition(":")
    bracketed = name.startswith("[") and name.endswith("]")
    if not colon or not number.isdecimal() or int(number) > 65535 or (":" in name and not bracketed):
        raise ValueError(f"{raw!r} is no address; write HOST:PORT, [IPV6]:PORT or :PORT")
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
    value = known.get(str(raw).lower())
    if value is None:
        raise ValueError(f"{raw!r} is neither; give true or false")
    return value


def choice(*allowed: str) -> Callable[[object], str]:
    """Make a reader of one word of several."""

    def read(raw: object) -> str:
        if raw not in allowed:
            raise ValueError(f"{raw!r} is not known; give one of {', '.join(allowed)}")
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


def _number(raw: object) -> float:
    try:
        return float(raw if isinstance(raw, str | int | float) and not isinstance(raw, bool) else "none")
    except (ValueError, OverflowError):
        raise ValueError(f"{raw!r} is not a number; give one") from None
