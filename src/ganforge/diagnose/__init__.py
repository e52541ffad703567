"""What is wrong with a run, and what to do: signals over its log, rules, and watchers that apply them live."""

from ganforge.diagnose.rules import diagnose
from ganforge.diagnose.signals import Context, Window, read_log
from ganforge.diagnose.stopping import Diagnoser, Plateau, Target
from ganforge.diagnose.verdict import Diagnosis

__all__ = ["Context", "Diagnoser", "Diagnosis", "Plateau", "Target", "Window", "diagnose", "read_log"]
