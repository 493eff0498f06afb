"""How log lines look."""

import json
import logging
import re

import pytest

from healthproxy.logs import set_up_logs


@pytest.fixture(autouse=True)
def _restore_logging():
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level


def test_text_is_for_people(capsys):
    set_up_logs("text", "info")
    logging.getLogger("x").warning("probe %s fails", "/a", extra={"fields": {"event": "failing"}})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING probe /a fails\n", capsys.readouterr().err)


def test_json_is_one_object_a_line_with_the_fields_beside_the_text(capsys):
    set_up_logs("json", "info")
    logging.getLogger("x").info("two\nlines", extra={"fields": {"event": "failing", "probe": "/a"}})
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {"level": "info", "message": "two\nlines", "event": "failing", "probe": "/a"}


def test_json_holds_the_traceback_of_a_bug(capsys):
    set_up_logs("json", "info")
    try:
        raise KeyError("gone")
    except KeyError:
        logging.getLogger("x").exception("bug")
    assert "KeyError: 'gone'" in json.loads(capsys.readouterr().err)["exception"]


def test_lines_below_the_level_are_left_out(capsys):
    set_up_logs("text", "warning")
    logging.getLogger("x").info("nothing")
    assert capsys.readouterr().err == ""
