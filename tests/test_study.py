"""A whole study over HTTP, on the real program: simulated people, safety, crashes, bad input."""

from __future__ import annotations

import json
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from command import finish, ganforge
from ganforge.core.errors import InputError
from ganforge.study import Desk, Journal, open_stimuli
from ganforge.study.pairs import PRACTICE, trials
from study_page import Client, begin, digits, guesser, make_data, oracle, take_part

pytest.importorskip("starlette", reason="the extra 'study' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'study' is not installed")

PAIRS = 100


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def running(data: tuple[Path, Path, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """One study that several people take part in: (address, folder, process)."""
    folder = tmp_path_factory.mktemp("study")
    real, made, _ = data
    process, address = begin(made, "--against", real, "--pairs", PAIRS, "--seconds", "none", "--out", folder)
    yield address, folder, process
    if process.poll() is None:
        process.kill()
        process.communicate()


def judged(folder: Path) -> dict:
    """What ``--report --json`` says."""
    said = ganforge("study", folder, "--report", "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_guesser_is_fooled_half_the_time_and_oracle_never(running: tuple, data: tuple) -> None:
    """Every answer is stored; nothing that a browser sees of a file tells which one is real."""
    address, folder, _ = running
    seen: list = []
    end = take_part(Client(address), "guesser", guesser(0), seen=seen)
    assert end["answers"] == PAIRS and len(seen) == len(trials(0, "guesser", PAIRS))
    assert take_part(Client(address), "oracle", oracle(data[2])) == {
        "done": True, "who": "oracle", "answers": PAIRS, "fooled": 0,
    }  # fmt: skip
    draw = random.Random(1)
    take_part(Client(address), "sleeper", lambda left, right: draw.choice(["left", "right"]))
    found = judged(folder)
    people = {p["who"]: p for p in found["people"]}
    assert 0.3 < people["guesser"]["rate"]["value"] < 0.7 and people["guesser"]["catches_right"] == 10
    assert people["oracle"]["fooled"] == 0 and people["oracle"]["median_ms"] == 700
    if "sleeper" not in people:  # 10 coins: 5 % come through
        assert [p["who"] for p in found["inattentive"]] == ["sleeper"] and found["answers"] == 2 * PAIRS

    lines = [json.loads(text) for text in (folder / "study.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line.get("who") == "guesser"]
    assert [line["number"] for line in mine] == list(range(len(seen)))
    assert all({"real", "choice", "ms", "time"} <= set(line) for line in mine)
    places = [line["real"] for line in mine]
    assert stats.binomtest(places.count("left"), len(places)).pvalue > 1e-4
    for state, left, right in seen:
        assert {k: v for k, v in left[2].items() if k != "date"} == {k: v for k, v in right[2].items() if k != "date"}
        assert left[0].shape == right[0].shape == (8, 8, 3)
        assert set(state) == set(seen[0][0]) and not {"real", "kind", "trial"} & set(state)
    files = [file for _, left, right in seen for file in (left[1], right[1])]
    assert len({len(f) for f in files}) == 1, "the length of a file tells nothing"
    assert len({f[:33] for f in files}) == 1, "nor does its header"
    assert len({len(name) for s, *_ in seen for name in (s["left"], s["right"])}) == 1
    pictures = [(left[0].tobytes(), right[0].tobytes()) for _, left, right in seen]
    assert len({p for pair in pictures for p in pair}) == 2 * len(pictures), "no image comes twice"


def test_only_the_page_itself_is_served(running: tuple) -> None:
    address, _, _ = running
    client = Client(address)
    status, headers, content = client.ask()
    assert status == 200 and b"Which one is real?" in content
    assert "default-src 'none'" in headers["content-security-policy"] and headers["cache-control"] == "no-store"
    assert b"http://" not in content.replace(b"http://www.w3.org", b"") and b"https://" not in content
    port = client.host.split(":")[1]
    for wrong in (
        {"host": "evil.example"}, {"host": f"evil.example:{port}"}, {"host": "127.0.0.1"}, {"host": "127.0.0.1:1"},
        {"origin": "http://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"},
        {"root": "/"}, {"root": "/" + "a" * 32 + "/"},
    ):  # fmt: skip
        assert client.ask(**wrong)[0] == 403, wrong
        assert client.ask("start", {"who": "x"}, **wrong)[0] == 403, wrong
    assert client.ask("start", {"who": "x"}, origin="")[0] == 403, "who sends something says from where"
    assert client.ask(host=f"localhost:{port}")[0] == 200
    assert client.ask("image/nothing")[0] == 404 and client.ask("nothing")[0] == 404
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", int(port)), timeout=2)


def test_wrong_answers_are_refused_and_sent_twice_count_once(running: tuple) -> None:
    address, folder, _ = running
    client = Client(address)
    state = client.send("start", who="  dora   b ")
    assert state["who"] == "dora b" and state["practice"] and state["number"] == 1
    token = state["token"]
    for body in (
        {"token": token, "choice": "up", "ms": 1}, {"token": token, "choice": "left", "ms": -1},
        {"token": token, "choice": "left", "ms": "1"}, {"token": token, "choice": "left"},
        {"token": token, "choice": "left", "ms": float("nan")}, {"token": token, "choice": "left", "ms": True}, [], 3,
    ):  # fmt: skip
        assert client.ask("answer", body)[0] == 400, body
    assert client.ask("answer", {"token": "é", "choice": "left", "ms": 1})[0] == 409
    assert client.ask("answer", raw=b"{")[0] == 400 and client.ask("answer", raw=b"[" * 5000)[0] == 400
    client = Client(address)
    assert client.ask("answer", {"token": token}, content_type="text/plain")[0] == 400
    for who in ("", " ", "x" * 41, "a\u0000b", 3, None):
        assert client.ask("start", {"who": who})[0] == 400
    again = client.send("start", who="dora b")
    assert again["token"] == token and again["left"] == state["left"], "a reload shows the same pair"
    first = client.send("answer", token=token, choice="left", ms=5)
    assert first["right"] in (True, False) and first["next"]["number"] == 2
    assert client.send("answer", token=token, choice="right", ms=9) == first
    mine = [x for x in map(json.loads, (folder / "study.jsonl").read_text().splitlines()) if x.get("who") == "dora b"]
    assert [(x["number"], x["choice"], x["views"]) for x in mine] == [(0, "left", 2)]
    other = client.ask(f"image/{state['left']}")[0]
    assert other == 404, "images are there while they are shown"


def test_study_goes_on_after_a_crash(data: tuple, tmp_path: Path) -> None:
    """Killed while in use, with a line cut short: every answer is there, and the next pair is the one that was next."""
    real, made, known = data
    arguments = (made, "--against", real, "--pairs", "12", "--seconds", "0.5", "--out", tmp_path, "--who", "ann")
    process, address = begin(*arguments)
    seen: list = []
    stopped = take_part(Client(address), "ann", oracle(known), most=9, seen=seen)
    shown = {Client(address).picture(stopped[side])[1] for side in ("left", "right")}
    process.kill()
    process.communicate()
    with open(tmp_path / "study.jsonl", "ab") as file:
        file.write(b'{"kind": "answer", "who": "an')
    process, address = begin(*arguments)
    state = Client(address).send("start", who="ignored")
    assert state["who"] == "ann" and state["number"] == stopped["number"] and not state["practice"]
    assert {Client(address).picture(state[side])[1] for side in ("left", "right")} == shown
    busy = ganforge("study", *arguments)
    assert busy.code == 1 and "is in use" in busy.error
    end = take_part(Client(address), "ann", oracle(known))
    assert end == {"done": True, "who": "ann", "answers": 12, "fooled": 0}
    said = finish(process, 20)
    assert said.code == 0 and "0 of 12" in said.out and "shown for 0.5 s" in said.out
    assert judged(tmp_path)["answers"] == 12


def test_run_makes_new_images_for_every_person(tmp_path: Path) -> None:
    """A run's study is stored in the run; after more training it is another study."""
    run = tmp_path / "run"
    small = ("--data", "digits", "--size", "8", "--batch", "8", "--device", "cpu", "--rounds", "2", "--quiet")
    assert ganforge("train", "dcgan", *small, "--run", run, draw=False).code == 0
    stimuli = open_stimuli(str(run), "digits")
    journal = Journal(run, {**stimuli.facts, "seconds": None})
    desk = Desk(stimuli, journal, 10, None)
    shown = {}
    for who in ("ann", "bob"):
        for trial in trials(0, who, 10):
            shown[who, trial.number] = stimuli.shown(who, trial)
            assert shown[who, trial.number] == stimuli.shown(who, trial)
    assert len({pair[1] for pair in shown.values()}) == len(shown), "nobody sees an image that another has seen"
    state = desk.start("ann")
    for _ in range(PRACTICE + 11):
        state = desk.answer(state["token"], "left", 10.0)["next"]
    assert state["done"] and state["answers"] == 10
    journal.close()
    assert "10 of 10" not in ganforge("study", run, "--report").out
    assert judged(run)["about"]["what"] == str(run)
    assert ganforge("resume", run, "--rounds", "4", "--quiet", draw=False).code == 0
    after = open_stimuli(str(run), "digits")
    with pytest.raises(InputError, match="is another study: the generated images are others"):
        Journal(run, {**after.facts, "seconds": None})


def test_bad_input_is_one_clear_line(data: tuple, tmp_path: Path) -> None:
    real, made, _ = data
    few = tmp_path / "few.npz"
    np.savez(few, images=digits(slice(700, 720))[..., None])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        out = ("--out", tmp_path / "out")
        for arguments, words in (
            ((made,), "a study needs real images"),
            ((made, "--against", real, "--seconds", "0"), "a number from 0.01 to 60"),
            ((made, "--against", real, "--seconds", "often"), "or none, not 'often'"),
            ((made, "--against", "ring", *out), "cannot be shown together"),
            (("ring", "--against", real, *out), "a study shows images"),
            ((made, "--against", made, *out), "hold the same images"),
            ((made, "--against", few, *out), "need 114 real images, and there are 20"),
            ((few, "--against", real, *out), "need 114 generated images, and there are 20"),
            ((made, "--against", "nowhere", *out), "no data at 'nowhere'"),
            ((made, "--against", real, "--who", "x" * 50, *out), "a name has 1 to 40"),
            ((made, "--against", real, "--port", port, "--out", tmp_path / "busy"), f"port {port} cannot be used"),
            ((made, "--against", real, "--port", "99999", *out), "from 0 to 65535"),
            ((tmp_path, "--report"), "no study at"),
        ):
            said = ganforge("study", *arguments)
            assert said.code == 2 and words in said.error, said.err
    for option, value, words in (("--seconds", "2", "another --seconds"), ("--seed", "5", "another --seed")):
        said = ganforge("study", made, "--against", real, "--out", tmp_path / "busy", option, value)
        assert said.code == 2 and words in said.error and "--out" in said.error
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "study.jsonl").write_text('{"kind": "study", "format": 1}\n{"kind": "answer", "who": 3}\n')
    assert "not what ganforge wrote" in ganforge("study", tmp_path / "odd", "--report").error
    (tmp_path / "odd" / "study.jsonl").write_text("hello\n")
    assert "not a study" in ganforge("study", tmp_path / "odd", "--report").error


def test_ctrl_c_ends_it_with_the_report(running: tuple) -> None:
    _, _, process = running
    import signal

    process.send_signal(signal.SIGINT)
    try:
        said = finish(process, 20)
    except subprocess.TimeoutExpired:
        pytest.fail("Ctrl-C did not end the study")
    assert said.code == 0 and "fooling rate" in said.out and "Traceback" not in said.err
