"""What an exception says about the app: the one table from exception to outcome."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from healthproxy.probe import Outcome, ProbeError, Reason

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}) | {
    errno.EAFNOSUPPORT,  # no IPv6 on this machine
    errno.EINVAL,  # a link-local address without its zone
}
OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What the system says when it has no more descriptors or memory for us; no fault of the app's."""
_NO_SOCKET = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EPROTOTYPE})


def explain(error: Exception, deadline: float) -> Outcome | None:
    """Map what a prober raised to an outcome; None for a bug of our own. `deadline`: seconds the app was given."""
    match error:
        case ProbeError():
            return Outcome(error.reason, error.detail)
        case TimeoutError():
            return Outcome(Reason.TIMEOUT, f"no answer within {deadline:g} s")
        case ssl.SSLError():
            return Outcome(Reason.TLS, f"TLS failed: {_tls_failure(error)}")
        case ConnectionRefusedError():
            return Outcome(Reason.REFUSED, "connection refused")
        case ConnectionError():
            return Outcome(Reason.RESET, "connection reset")
        case socket.gaierror() | UnicodeError():
            return Outcome(Reason.REFUSED, "cannot resolve the app's host name")
        case OSError():
            return _explain_number(error.errno)
    return None


def _explain_number(number: int | None) -> Outcome | None:
    if number in _UNREACHABLE:
        return Outcome(Reason.REFUSED, "app's host unreachable")
    if number in _NO_SOCKET:
        return Outcome(Reason.REFUSED, "no socket of the app at this path")
    if number in (errno.EACCES, errno.EPERM):
        return Outcome(Reason.REFUSED, "no permission to connect")
    if number in OUT_OF_FILES:
        return Outcome(Reason.INTERNAL, f"healthproxy could not ask the app: {os.strerror(number)}")
    return None


def is_gone(error: OSError) -> bool:
    """Tell whether a failed connection means that nobody listens at that address."""
    return isinstance(error, ConnectionRefusedError) or error.errno in _UNREACHABLE | _NO_SOCKET


def met_itself(sock: socket.socket) -> bool:
    """Tell whether the kernel chose as our own port the one where nobody listens, and connected the socket to itself.

    Go's dialer looks for the same (net/tcpsock_posix.go, selfConnect).
    """
    try:
        return sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername()
    except OSError:  # it is gone already
        return False


def _tls_failure(error: ssl.SSLError) -> str:
    reason = (getattr(error, "reason", None) or "handshake broken off").lower().replace("_", " ")
    if "no application protocol" in f"{reason} {error}":  # alert 120 of RFC 7301: some CPythons have no name for it
        return "app does not offer what this probe speaks: HTTP/1.1 for httpGet, HTTP/2 for grpc"
    return getattr(error, "verify_message", "") or reason
