"""What an exception says about the app: the one table from exception to outcome."""

from __future__ import annotations

import errno
import socket
import ssl

from healthproxy.probe import Outcome, ProbeError, Reason

_UNREACHABLE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}
)


def explain(error: Exception, deadline: float) -> Outcome | None:
    """Map what a prober raised to an outcome; None for a fault of our own. `deadline`: seconds the app was given."""
    match error:
        case ProbeError():
            return Outcome(error.reason, error.detail)
        case TimeoutError():
            return Outcome(Reason.TIMEOUT, f"no answer within {deadline:g} s")
        case ssl.SSLError():
            why = getattr(error, "verify_message", "") or (
                getattr(error, "reason", None) or "handshake broken off"
            ).lower().replace("_", " ")
            return Outcome(Reason.TLS, f"TLS failed: {why}")
        case ConnectionRefusedError():
            return Outcome(Reason.REFUSED, "connection refused")
        case ConnectionError():
            return Outcome(Reason.RESET, "connection reset")
        case socket.gaierror() | UnicodeError():
            return Outcome(Reason.REFUSED, "cannot resolve the app's host name")
        case OSError() if error.errno in _UNREACHABLE:
            return Outcome(Reason.REFUSED, "app's host unreachable")
    return None


def is_gone(error: OSError) -> bool:
    """Tell whether a failed connection means that nobody listens at that address."""
    return isinstance(error, ConnectionRefusedError) or error.errno in _UNREACHABLE
