"""report.html: one self-contained page about a run, made from the files in its folder alone."""

from ganforge.report.contents import Contents
from ganforge.report.windows import write_diagnosis
from ganforge.report.write import write_report

__all__ = ["Contents", "write_diagnosis", "write_report"]
