"""Runs side by side: one table and one picture, all judged by the same real data in the same way."""

from ganforge.comparison.compare import FILES, Comparison, Row, compare_runs

__all__ = ["FILES", "Comparison", "Row", "compare_runs"]
