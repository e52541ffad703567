"""GANs and their rivals on the same data, for the same time, by the same judge: what a comparison is made of."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganforge.api import connected
from ganforge.config import Settings
from ganforge.core.errors import InputError, RunError
from ganforge.core.game import millions
from ganforge.core.store import disk_errors, read_json, write_bytes, write_json
from ganforge.domains import open_data
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_pictures import make_folder
from ganforge.domains.survey import readers
from ganforge.plan import make_plan
from ganforge.race import Entry, Row, fingerprint_of, reals, run

JUDGED = 2000
"""Generated samples that are judged, where there are as many held-out real ones."""

FEWEST = 50
"""Held-out samples, at least: the distance needs as many."""

ROWS = "contest.json"
"""The file of a contest's rows."""


def contest(
    data: str | Path,
    recipes: Sequence[str],
    minutes: float = 3.0,
    seeds: Sequence[int] = (0,),
    held: str | Path | None = None,
    out: str | Path | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    judged: int = JUDGED,
    jobs: int = 1,
    goes_on: bool = False,
    setup: Callable[[], None] | None = None,
    tell: Callable[[str], None] = lambda text: None,
    seen: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Train every recipe with every seed for about ``minutes``, judge all by held-out data, and return the rows.

    Minutes are of computing: on a CPU, processor time, so that a busy machine changes nothing. Each recipe has its
    defaults (``params`` by recipe come after them), but schedules are fitted to the samples that it can see in the
    time, which a short trial measures. ``held`` are held-out real data; without, a fifth of labelled images is held
    out. Runs are kept in ``out`` (None: nowhere), with contest.json, the rows so far, and contest.md. With ``goes_on``
    those of an earlier contest there count: rows stay, a run that was interrupted is trained to its end. ``jobs``: so
    many runs at a time, each in a process of its own (in a script, under ``if __name__ == "__main__"``), which calls
    ``setup`` first (a function of a module, to import recipes of one's own). ``seen`` hears of each row. A run that
    fails is a row that says why. InputError for what cannot be trained or judged, before anything is trained; RunError
    where no run could be trained; KeyboardInterrupt where one is interrupted.
    """
    if not recipes or not seeds or minutes <= 0 or jobs < 1:
        raise InputError("a contest needs recipes, seeds, more than 0 minutes and at least 1 job")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = {(name, seed): Path(out or folder) / f"{name}-{seed}" for seed in seeds for name in recipes}
        if not goes_on:
            refuse_taken(places.values())
        train_on, held_out = parts(str(data), str(held) if held else None, folder)
        given = {name: dict((params or {}).get(name, {})) for name in recipes}
        check_recipes(given, train_on, str(data))
        done = earlier(Path(out), list(places.values()), train_on, held_out, minutes) if out and goes_on else []
        if out and held_out and train_on != str(data):
            train_on, held_out = kept(train_on, Path(out)), kept(held_out, Path(out))
        known = {(row.recipe, row.seed) for row in done}
        entries = [
            Entry(Settings(name, train_on, given[name], {}, {}), seed, minutes, held_out, place, judged)
            for (name, seed), place in places.items()
            if (name, seed) not in known
        ]
        order = {place: i for i, place in enumerate(places)}
        for row in race(entries, min(jobs, len(entries)), setup, tell):
            done.append(row)
            done.sort(key=lambda row: order.get((row.recipe, row.seed), -1))
            if out:  # after each, so that what was trained is not lost with what comes after it
                write_json(Path(out) / ROWS, [each.to_dict() for each in done])
                write_bytes(Path(out) / "contest.md", ("\n".join(table(done)) + "\n").encode())
            seen(row)
    if all(row.error for row in done):
        raise RunError(f"no run came to an end: {done[0].recipe}, seed {done[0].seed}: {done[0].error}")
    return done


def parts(data: str, held: str | None, folder: Path) -> tuple[str, str | None]:
    """Paths of training and held-out data. InputError where samples cannot be judged by them."""
    check_kind(data)
    train_on, held_out = split(data, held, folder)
    if held_out and open_data(held_out)[1].fingerprint == open_data(train_on)[1].fingerprint:
        raise InputError(f"{held or data}: held-out data must be others than {data}, and these hold the same")
    if (count := reals(held_out, JUDGED)) < FEWEST:
        raise InputError(f"{held or data}: {count} held-out samples are too few to judge by: {FEWEST} are needed")
    return train_on, held_out


def check_recipes(given: Mapping[str, dict[str, Any]], train_on: str, data: str) -> None:
    """InputError for a recipe that cannot be trained, with what is ``given`` for it: before any is trained."""
    for name, params in given.items():
        with connected():
            try:
                make_plan(Settings(name, train_on, params, {}, {}), lambda text: None)
            except InputError as error:
                raise InputError(f"{name}: {str(error).replace(train_on, data)}") from None


def race(
    entries: Sequence[Entry], jobs: int, setup: Callable[[], None] | None, tell: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of all entries as they come, ``jobs`` at a time."""
    if jobs <= 1:
        for entry in entries:
            tell(str(entry))
            yield run(entry)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    ways = multiprocessing.get_context("spawn")  # a fork of a process whose threads have run may hang
    with ProcessPoolExecutor(jobs, ways, initializer=begin, initargs=(threads, setup)) as pool:
        try:
            waiting = [pool.submit(run, entry) for entry in entries]
            tell("; ".join(map(str, entries[:jobs])))
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool:
            raise RunError("a process of the contest was killed: if memory did not suffice, fewer --jobs do") from None
        finally:  # after an interrupt nothing new begins
            pool.shutdown(cancel_futures=True)


def begin(threads: int, setup: Callable[[], None] | None) -> None:
    """What a process of ``race`` does first. Only training hears an interrupt: it saves, and the contest ends."""
    signal.signal(signal.SIGINT, lambda number, frame: None)
    torch.set_num_threads(threads)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if setup is not None:
        setup()


def end_with_parent() -> None:
    """End this process as soon as the one that began it has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def refuse_taken(places: Iterable[Path]) -> None:
    """InputError where a run would be written over something."""
    for place in places:
        if place.is_file() or (place.is_dir() and any(place.iterdir())):
            raise InputError(
                f"{place} exists already: --resume goes on with a comparison that was interrupted, and other runs need "
                "another folder"
            )


def earlier(out: Path, places: Sequence[Path], train_on: str, held: str | None, minutes: float) -> list[Row]:
    """The rows that an earlier contest has left in ``out``. InputError where it was another one."""
    rows = rows_in(out)
    for row in rows:
        if row.budget != minutes:
            raise InputError(
                f"{out / ROWS} is of {row.budget:g} minutes a run, not of {minutes:g}: choose another --out"
            )
        if row.held != fingerprint_of(held):
            raise InputError(f"{out / ROWS} was judged by other held-out data: choose another --out")
    fingerprint = open_data(train_on)[1].fingerprint
    for place in (*places, *(out / f"{row.recipe}-{row.seed}" for row in rows)):
        if not (place / "run.json").is_file():
            refuse_taken([place])
        elif read_json(place / "run.json")["data"]["fingerprint"] != fingerprint:
            raise InputError(f"{place} was trained on other data: choose another --out")
    return rows


def rows_in(out: Path) -> list[Row]:
    """The rows in a folder's contest.json, failures left out; none where there is no such file."""
    rows = [Row.from_dict(facts) for facts in read_json(out / ROWS)] if (out / ROWS).is_file() else []
    return [row for row in rows if not row.error]


def check_kind(data: str) -> None:
    """InputError where the data are of no kind whose samples have a distance in features."""
    kind = readers(data)[0].DOMAIN
    if not kind.scored:
        raise InputError(
            f"{data} is of kind {kind.kind}, and recipes are raced on images, points and tables: train each of them, "
            "then ganforge compare RUN RUN"
        )


def split(data: str, held: str | None, folder: Path) -> tuple[str, str | None]:
    """Paths of training and held-out data: as given, or every fifth image of each class written to ``folder``."""
    domain, source = open_data(data)
    if held is not None or domain.endless:
        return data, held
    if not isinstance(domain, ImageDomain) or not domain.classes:
        raise InputError(f"{data}: give held-out data (--against TEST): without classes none can be chosen evenly")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    order = order[source.take(order)["label"].argsort(stable=True)]
    is_held = torch.arange(len(order)) % 5 == 0
    for name, rows in (("train", order[~is_held]), ("held", order[is_held])):
        taken = source.take(rows)
        labels = np.array(domain.classes)[taken["label"].numpy()]
        domain.save({"images": domain.levels_of(taken["data"]), "labels": labels}, folder / f"{name}.npz")
    return str(folder / "train.npz"), str(folder / "held.npz")


def kept(part: str, out: Path) -> str:
    """A part of the data, moved to ``out`` for the runs there, which name it: they can go on and be judged anew.

    It is named by what it holds, so parts for other runs stay what they are.
    """
    place = out.absolute() / "data" / f"{Path(part).stem}-{open_data(part)[1].fingerprint[:8]}.npz"
    if not place.exists():
        make_folder(place.parent)
        with disk_errors(place):
            shutil.move(part, place)
    return str(place)


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: a line a recipe, means over seeds; how far these lie apart (sd), and the worst seed's distance. Under
    the table, runs that failed."""
    header = (
        "recipe", "seeds", "parameters", "samples seen", "distance (floor)", "sd", "worst seed", "precision", "recall",
        "bits/dim", "ms a sample",
    )  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name in dict.fromkeys(row.recipe for row in rows):
        lines.append("| " + " | ".join(cells([row for row in rows if row.recipe == name])) + " |")
    failed = [f"- `{row.recipe}`, seed {row.seed}: {row.error}" for row in rows if row.error]
    return [*lines, "", *failed] if failed else lines


def cells(rows: Sequence[Row]) -> list[str]:
    """The cells of one recipe."""
    some = [row for row in rows if not row.error]
    lost = f" ({len(rows) - len(some)} failed)" if len(some) < len(rows) else ""
    first = [f"`{rows[0].recipe}`", f"{len(some)}{lost}"]
    if not some:
        return [*first, *["none"] * 9]

    def mean(key: str) -> float:
        return statistics.fmean(getattr(row, key) for row in some)

    found = [row.bits_per_dim for row in some if row.bits_per_dim is not None]
    distances = [row.distance for row in some]
    sign = "<= " if some[0].likelihood == "lower bound" else ""
    several = len(some) > 1
    return [
        *first,
        millions(some[0].parameters),
        f"{mean('samples'):,.0f}",
        f"{far(mean('distance'))} ({far(mean('floor'))})",
        far(statistics.stdev(distances)) if several else "one seed",
        far(max(distances)),
        f"{mean('precision'):.0%}",
        f"{mean('recall'):.0%}",
        f"{sign}{statistics.fmean(found):.2f}" if found else "none",
        f"{1000 * mean('seconds_each'):.2f}",
    ]


def far(distance: float) -> str:
    """A distance: of points they are small."""
    return f"{distance:.2f}" if distance >= 0.1 else f"{distance:.2g}"
