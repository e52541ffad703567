"""A human study: can people tell generated images from real ones? Pairs, a page, answers, statistics."""

from __future__ import annotations

from ganforge.study.desk import Desk
from ganforge.study.journal import Journal, read_answers
from ganforge.study.pairs import Stimuli, open_stimuli
from ganforge.study.server import serve
from ganforge.study.statistics import Answer, Report, report

__all__ = ["Answer", "Desk", "Journal", "Report", "Stimuli", "open_stimuli", "read_answers", "report", "serve"]
