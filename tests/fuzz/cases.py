"""What has been found so far, run by the suite: bytes that once broke a promise, or that the fuzzer itself once broke on."""

REQUESTS: list[tuple[bytes, list[int]]] = [
    # answered as a probe, for the parser knows RTSP, too
    (b"GET /healthy RTSP/1.0\r\nHost: x\r\n\r\n", []),
    # answered as a probe: a Transfer-Encoding that does not end in chunked has no end (RFC 9112, 6.3)
    (b"GET /healthy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", []),
    (b"GET /healthy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \t\r\nContent-Length: 0\r\n\r\n", []),
    # reset while he still sends
    (b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\nG", [34]),
]
"""What a caller sent, and in which segments."""
ANSWERS: list[tuple[bytes, str, bool]] = [
    (
        b"\x00\x00\x00\x04\x00\x00\x00\x04\x00\x00\xbe39\x00\x04\x00\x00\x00\x00\x00\x00\x00#\x01\x05\x00\x00\x00\x01\x88_"
        b"\x10appl@\x0bgrpc-status\x0212",
        "/grpc",
        False,
    ),
]
"""What an app answered, to the probe of which key, and whether it ended with RST."""
