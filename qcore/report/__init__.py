"""A comparison to look at: one HTML file, figures in a notebook, an overlay for Model Explorer."""

from qcore.report.charts import chart
from qcore.report.overlay import overlay
from qcore.report.page import html

__all__ = ["chart", "html", "overlay"]
