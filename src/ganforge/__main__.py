"""``python -m ganforge``: the same as the command ``ganforge``."""

from ganforge.app.cli import main

main()
