"""The command line: thin verbs over ganforge.api and ganforge.model. Heavy modules are imported where they are used."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ganforge.app.arguments import (
    INTERRUPTED,
    Allow,
    Code,
    Device,
    Label,
    Out,
    Quiet,
    RunPath,
    Seed,
    count_to_stderr,
    open_run,
    say,
    tag,
    telling,
)
from ganforge.app.augment import AUGMENT_EXAMPLES, augment
from ganforge.app.compare import COMPARE_EXAMPLES, compare
from ganforge.app.data import data_app
from ganforge.app.diagnose import DIAGNOSE_EXAMPLES, diagnose
from ganforge.app.duality import DUALITY_EXAMPLES, duality
from ganforge.app.edit import EDIT_EXAMPLES, edit
from ganforge.app.evaluate import evaluate
from ganforge.app.hints import hint
from ganforge.app.mix import MIX_EXAMPLES, mix
from ganforge.app.project import PROJECT_EXAMPLES, project
from ganforge.app.report import REPORT_EXAMPLES, report
from ganforge.app.starting import Verb
from ganforge.app.study import STUDY_EXAMPLES, study
from ganforge.app.train import RESUME_EXAMPLE, TRAIN_EXAMPLES, resume, train
from ganforge.app.translate import TRANSLATE_EXAMPLES, translate
from ganforge.app.traverse import TRAVERSE_EXAMPLES, traverse
from ganforge.app.written import Overwrite, refuse_others, remember
from ganforge.core.errors import GanforgeError, RunError

app = typer.Typer(
    help="Train, judge, understand and use generative adversarial networks on your own data.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help takes half of the time
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: ganforge train dcgan --data digits --minutes 3",
)
app.add_typer(data_app, name="data")

app.command(epilog=TRAIN_EXAMPLES)(train)
app.command(epilog=RESUME_EXAMPLE)(resume)
app.command(
    epilog="Examples: ganforge evaluate RUN --against digits | ganforge evaluate samples/ --against photos.zip "
    "--holdout test.zip --metrics fid,kid,prdc --json"
)(evaluate)
app.command(epilog=DIAGNOSE_EXAMPLES)(diagnose)
app.command(epilog=TRAVERSE_EXAMPLES)(traverse)
app.command(epilog=PROJECT_EXAMPLES)(project)
app.command(epilog=EDIT_EXAMPLES)(edit)
app.command(epilog=MIX_EXAMPLES)(mix)
app.command(epilog=TRANSLATE_EXAMPLES)(translate)
app.command(epilog=REPORT_EXAMPLES)(report)
app.command(epilog=COMPARE_EXAMPLES)(compare)
app.command(epilog=DUALITY_EXAMPLES)(duality)
app.command(epilog=STUDY_EXAMPLES)(study)
app.command(epilog=AUGMENT_EXAMPLES)(augment)


@app.command(
    epilog="Examples: ganforge generate RUN -n 64 --seed 1 | ganforge generate RUN -n 1000 --label 3 --out threes.npz "
    "| ganforge generate RUN --code category=3 --code code1=-1.5 "
    "| ganforge generate RUN -n 1000 --where education=Masters --out masters.csv "
    "| ganforge generate RUN -n 16 --prompt 'a red seven left of a blue two' --out sevens"
)
def generate(
    run: RunPath,
    n: Annotated[int, typer.Option("-n", "--number", help="How many samples.")] = 64,
    seed: Seed = 0,
    label: Label = None,
    truncation: Annotated[float, typer.Option(help="Below 1: less variety, better samples.")] = 1.0,
    where: Annotated[
        list[str] | None,
        typer.Option(help="For tables: column=value, or with <, <=, >, >=, !=. May be repeated.", metavar="CONDITION"),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="For clips: how many frames, also more than in training.")
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="For text to image: a caption. May be repeated: each in turn.", metavar="TEXT"),
    ] = None,
    code: Code = None,
    out: Out = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace a file that ganforge did not write, or write into a folder of other files."
        ),
    ] = False,
    device: Device = "auto",
    allow: Allow = None,
    quiet: Quiet = False,
) -> None:
    """Generate samples: a folder of files with a grid picture, or one file, as --out says. A folder's earlier samples
    are replaced."""
    from ganforge.app import output

    less = None if truncation == 1 else f"truncation{truncation:g}"
    length = None if frames is None else f"frames{frames}"
    target = out or run / "generated" / f"seed{seed}{tag(label, less, where, prompt, code, length)}"
    if out is not None and not overwrite and output.is_folder(out):
        output.refuse_strangers(out)
    output.refuse_data(target, run)
    if not output.is_folder(target):
        refuse_others([target], overwrite)
    model = open_run(run, device, allow, code)
    samples = model.generate(
        n, seed, label, truncation, where or (), frames, prompt, progress=None if quiet else count_to_stderr("samples")
    )
    if not output.is_folder(target):
        written = model.domain.save(samples, target)
        remember(written)
    else:

        def write(folder: Path) -> None:
            model.domain.save(samples, folder)
            model.domain.show(samples, folder / "grid.png")

        told = {
            "label": label,
            "truncation": truncation,
            "where": where,
            "frames": frames,
            "prompt": prompt,
            "code": code,
        }
        about = {"run": str(run.resolve()), "trained_on": model.facts["samples"], "n": n, "seed": seed, **told}
        written = output.fill(target, write, about, all_old=out is None)
        written = [target / "grid.png", *(p for p in written if p.name != "grid.png")]
    more = len(written) - 1
    others = f" and {more} more {'file' if more == 1 else 'files'} in {target}" if more else ""
    say(f"{n} {'sample' if n == 1 else 'samples'}: {written[0]}{others}")
    if beside := output.strangers(target):
        say(f"{len(beside):,} other {'file is' if len(beside) == 1 else 'files are'} in {target} too")
    if remark := model.domain.remark(samples):
        say(remark)


@app.command(
    epilog="Examples: ganforge interpolate RUN --out walk.gif | ganforge interpolate RUN --mode linear --out strip.png"
)
def interpolate(
    run: RunPath,
    waypoints: Annotated[int, typer.Option(help="Latents to visit.")] = 5,
    steps: Annotated[int, typer.Option(help="Samples from each latent to the next.")] = 8,
    mode: Annotated[str, typer.Option(help="spherical or linear.")] = "spherical",
    seed: Seed = 0,
    label: Label = None,
    code: Code = None,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Walk from latent to latent: a GIF or MP4, or a PNG strip."""
    refuse_others([out] if out else [], overwrite)
    model = open_run(run, device, allow, code)
    with telling(doing="making samples"):
        samples = model.interpolate(waypoints, steps, seed, label, mode)  # type: ignore[arg-type]
    name = f"interpolation-{mode}-seed{seed}{tag(label, code)}"
    for target in [out] if out else [run / "generated" / f"{name}{suffix}" for suffix in (".gif", ".png")]:
        model.domain.animate(samples, target, steps)
        remember([target])
        say(f"{waypoints} latents, {(waypoints - 1) * steps + 1} samples: {target}")


@app.command(epilog="Example: ganforge recipes wgan-gp")
def recipes(name: Annotated[str | None, typer.Argument(help="Describe this one.", metavar="RECIPE")] = None) -> None:
    """List the recipes and the kinds of data they take, or describe one: its paper, parameters and their defaults."""
    import dataclasses

    from ganforge.recipes.recipe import find_recipe, recipe_names

    if name is None:
        for each in recipe_names():
            recipe = find_recipe(each)
            able = f" [{', '.join(recipe.abilities)}]" if recipe.abilities else ""
            kinds = ", ".join(recipe.kinds or ("image", "points", "table"))
            say(f"{each:12} {kinds:21} {recipe.title}: {recipe.paper}{able}")
        return
    recipe = find_recipe(name)
    about, meanings = described(recipe)
    say(f"{name}: {recipe.title}\nPaper: {recipe.paper}\n\n{about}\n\nParameters (set with --set name=value):")
    for field in dataclasses.fields(recipe):
        value = "null" if field.default is None else "''" if field.default == "" else field.default
        default = f"{field.name} = {value}"
        say(f"  {default:32} {meanings.get(field.name, '')}".rstrip())


def described(recipe: type) -> tuple[str, dict[str, str]]:
    """A recipe's docstring without its parameters, and what it and its bases say of each one: ``name, name: meaning``,
    which may go on in lines that are indented."""
    import dataclasses
    import inspect
    import re

    fields, meanings, about = {field.name for field in dataclasses.fields(recipe)}, {}, ""

    def take(found: re.Match[str]) -> str:
        names = found[1].split(", ")
        if not fields.issuperset(names):
            return found[0]
        meanings.update(dict.fromkeys(names, " ".join(found[2].split())))
        return ""

    for each in reversed(recipe.__mro__):
        text = inspect.cleandoc(each.__dict__.get("__doc__") or "")
        text = re.sub(r"(?m)^([a-z0-9_]+(?:, [a-z0-9_]+)*): (.+(?:\n +\S.*)*)\n?", take, text)
        about = re.sub(r"\n{3,}", "\n\n", text).strip() or about
    return about, meanings


@app.command(epilog="Examples: ganforge runs | ganforge runs /data/my-runs")
def runs(root: Annotated[Path, typer.Argument(help="Where to look.", metavar="FOLDER")] = Path("runs")) -> None:
    """List the runs in a folder."""
    from ganforge.engine.run import Run

    found = sorted(p.parent for p in root.glob("*/run.json")) if root.is_dir() else []
    if not found:
        say(f"no runs in {root}; start one: ganforge train dcgan --data digits")
    for path in found:
        try:
            run = Run.open(path)
            last = (run.lines("log") or [{}])[-1]
            data = run.facts["data"]["path"]
        except GanforgeError as error:
            say(f"{path}  damaged: {error}")
            continue
        say(
            f"{path}  {data}  {last.get('round', 0):,} rounds  {last.get('samples', 0):,} samples  "
            f"{last.get('seconds', 0):,.0f} s"
        )


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        from ganforge import __version__

        say(f"ganforge {__version__}")
        raise typer.Exit(0)


def in_lines(examples: str) -> str:
    """Examples that stand side by side, each on a line of its own, to be copied: help breaks none (\\b)."""
    return "\b\n" + examples.replace(": ganforge", ":\n  ganforge", 1).replace(" | ", "\n  ")


for command in (*app.registered_commands, *data_app.registered_commands):
    command.epilog, command.cls = in_lines(command.epilog or ""), Verb
    command.short_help = " ".join((command.callback.__doc__ or "").split("\n\n")[0].split())  # else it is cut short


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 training could not go on, 2 wrong input, 130 interrupted."""
    try:
        code = app(standalone_mode=False)
    except GanforgeError as error:
        code = fail(str(error), error.exit_code, everywhere=spoken_by_one(error))
    except USAGE_ERROR as error:
        code = show_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = fail("interrupted", INTERRUPTED)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        code = fail(f"{error.filename or 'cannot write'}: {error.strerror}", 1)
    except RuntimeError as error:
        why = between_processes(str(error))
        if not why:
            raise
        code = fail(why, 1, everywhere=why is LATE)
    sys.exit(code if isinstance(code, int) else 0)


USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""click's UsageError, of whichever click this typer brings."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
SLOW = ("Timed out waiting", "collective operation timeout")
"""What PyTorch says where another process has not answered in time, by way of gloo and of NCCL."""
LOST = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket Timeout"),
    *("NCCL communicator was aborted", "ncclRemoteError", "ncclSystemError"),
)
"""What it says where another process has ended."""
LATE = (
    "another process has not answered in the time that train.timeout_minutes gives it: if it was only slow, as the "
    "first one is while it evaluates, resume with a larger one"
)


def between_processes(error: str) -> str:
    """What is wrong, where an error of PyTorch is about another process of this run; else nothing."""
    if "RANK" not in os.environ:
        return ""
    if any(text in error for text in SLOW):
        return LATE
    return "another process of this run has failed" if any(text in error for text in LOST) else ""


def fail(text: str, code: int, everywhere: bool = False) -> int:
    """Say what is wrong in one line: on the first process, or on all of them."""
    rank = os.environ.get("RANK", "0")
    if rank == "0" or everywhere:
        typer.echo(f"error: {text}" if rank == "0" else f"error in process {rank}: {text}", err=True)
    return code


def spoken_by_one(error: GanforgeError) -> bool:
    """Whether the other processes do not raise the same error: they do for wrong input and for failing steps."""
    if not isinstance(error, RunError) or "RANK" not in os.environ:
        return False
    from ganforge.engine.trainer import Diverged

    return not isinstance(error, Diverged)


def show_usage(error: Any) -> int:
    """A wrong command line: one line, or the help where nothing was given."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return error.exit_code
    command = error.ctx.command_path if error.ctx is not None else "ganforge"
    text = " ".join(error.format_message().split())
    if command.endswith(" train") and "unexpected extra argument" in text:
        text += ": data are named with --data"
    if error.ctx is not None and (meant := hint(str(getattr(error, "option_name", "")), error.ctx, sys.argv[1:])):
        text = f"{text.partition(' (Possible')[0]}: {meant}"
    return fail(f"{text} (see '{command} --help')", error.exit_code)


if __name__ == "__main__":
    main()
