"""How log lines look: text for people, JSON for collectors. Says nothing itself."""

from __future__ import annotations

import json
import logging
import sys
import time


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write one object on one line; the fields of a state change stand beside its text."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_logs(log_format: str, log_level: str) -> None:
    """Send every log line to standard error, in the format and from the level that the configuration names."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
    text.converter = time.gmtime
    handler.setFormatter(_JSON() if log_format == "json" else text)
    logging.basicConfig(level=log_level.upper(), handlers=[handler], force=True)
