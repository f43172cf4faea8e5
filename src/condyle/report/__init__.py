"""Numbers into a page: pictures, tables, and one HTML file that holds them all.

`figures` draws PNGs, `tables` writes HTML, Markdown, CSV and LaTeX, and `write_report` puts
everything a run has to say into one page that needs nothing else.
"""

from condyle.report import figures, tables
from condyle.report.run_page import Picture, Report, write_report

__all__ = ["Picture", "Report", "figures", "tables", "write_report"]
