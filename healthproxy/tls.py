"""The client side of TLS to the app: not verified, as the kubelet does, unless authorities are configured."""

from __future__ import annotations

import functools
import ssl

from healthproxy.kubelet import is_address
from healthproxy.probe import TLS, Endpoint

HANDSHAKE_BROKEN = "TLS failed: connection closed during the handshake"
NO_HTTP2 = "TLS failed: app did not choose HTTP/2 by ALPN, which gRPC needs"


@functools.cache
def tls_context(tls: TLS, protocol: str = "http/1.1") -> ssl.SSLContext:
    """Build the context, once per distinct setting; `protocol` is offered by ALPN. Raises OSError where `ca` cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols([protocol])
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES")  # what Go offers for TLS 1.2; OpenSSL leaves some of it out
    if tls.ca:
        context.load_verify_locations(cafile=tls.ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def server_name(endpoint: Endpoint) -> str:
    """Return the name to send and, with `ca`, to verify; empty for none, as the kubelet sends none for an address."""
    assert endpoint.tls is not None
    if endpoint.tls.server_name:
        return endpoint.tls.server_name
    if endpoint.tls.ca:
        return endpoint.host
    name = endpoint.named_host or ""
    return "" if is_address(name) else name
