"""A run that nothing has judged yet, judged quickly by its own data, so that a diagnosis has more than its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ganforge.appraisal import own_data
from ganforge.core.device import pick_device
from ganforge.core.errors import GanforgeError, RunError
from ganforge.core.store import write_json
from ganforge.diagnose.signals import JUDGED
from ganforge.live import features_for, tell_own
from ganforge.measure import kinds
from ganforge.model import load

TRAINED = "judged on inputs that it was trained on (--holdout keeps some from it)"


def examine(path: Path, tell: Callable[[str], None] = lambda text: None, device: str = "auto") -> None:
    """Leave the scores that a diagnosis looks at in the run's folder, or why they cannot be had.

    Nothing is raised but RunError, where the file cannot be written: that a run cannot be judged is a finding, too.
    """
    about: dict[str, object] = {"unable": []}
    try:
        model = load(path, device)
        about["model_samples"] = model.facts.get("samples")
        spec, domain, source, held = own_data(path)
        tell(f"judging samples by {spec}")
        metrics = tuple(kinds.tells_of(domain.kind))
        extract = features_for(domain, source, held, pick_device(device))
        result = tell_own(model, source, held, metrics, extract, tell=tell)
        about |= {"against": spec, "scores": result.brief(), "protocol": result.protocol.to_dict()}
        left_out = [note for note in result.notes if note.startswith(("left out: ", "no floor"))]
        unable = [f"no score: {note.removeprefix('left out: ')}" for note in left_out]
        about["unable"] = [*unable, TRAINED] if model.game.needs and not held else unable
    except RunError:
        raise
    except GanforgeError as error:
        about["unable"] = [f"samples could not be judged: {error}"]
    write_json(path / JUDGED, about)
