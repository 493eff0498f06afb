"""What the history says to those who look: as JSON, as a page and as plain text, all three from one `Report`.

Imported with the first request for one of them: those who never look pay nothing.
"""

from healthproxy.report.document import render_json
from healthproxy.report.page import HEADERS, HTML, PAGE_HEADERS, render_page
from healthproxy.report.summary import Report, make_report
from healthproxy.report.text import render_text

__all__ = ["HEADERS", "HTML", "PAGE_HEADERS", "Report", "make_report", "render_json", "render_page", "render_text"]
