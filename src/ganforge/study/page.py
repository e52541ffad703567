"""The page that a person sees: one file of HTML, without anything from elsewhere."""

from __future__ import annotations

import json


def page(nonce: str, who: str, seconds: float | None) -> str:
    """The page as HTML. ``who`` is the person, if it is for one; ``seconds`` how long a pair is shown."""
    facts = json.dumps({"who": who, "seconds": seconds}).replace("<", "\\u003c")
    return HTML.replace("@STYLE", STYLE).replace("@SCRIPT", SCRIPT).replace("@NONCE", nonce).replace("@FACTS", facts)


HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Which one is real?</title><link rel="icon" href="data:,"><style nonce="@NONCE">@STYLE</style></head>
<body>
<header><span id="phase">Study</span><div id="bar" role="progressbar" aria-label="progress"><i></i></div>
<span id="count"></span></header>
<main>
<section id="welcome">
<h1>Which one is real?</h1>
<p>You will see two images side by side. One is real, the other was made by a computer. Choose the one that you take for
<b>real</b>.</p>
<p id="timing"></p>
<p>Choose with the keys <kbd>&larr;</kbd> and <kbd>&rarr;</kbd>, or click on the image. If you are not sure, guess.
A short practice with feedback comes first. Every answer is stored at once: you may stop and go on later.</p>
<form id="form"><label id="asked">Your name or initials <input id="who" maxlength="40" autocomplete="off" required>
</label><button id="go" type="submit">Start</button></form>
</section>
<section id="trial" hidden>
<h2 id="question">Which one is real?</h2>
<div id="pair">
<button class="side" id="left" aria-label="the left image is real"><span class="frame"><img alt=""></span>
<span class="key">&larr; left</span></button>
<div id="cross" aria-hidden="true">+</div>
<button class="side" id="right" aria-label="the right image is real"><span class="frame"><img alt=""></span>
<span class="key">right &rarr;</span></button>
</div>
<div id="after"><p id="feedback" role="status"></p>
<button id="next" hidden>Next <kbd>space</kbd></button></div>
</section>
<section id="done" hidden><h1>Thank you</h1><p id="result"></p><p>Your answers are stored. You may close this page.</p>
</section>
</main>
<p id="error" role="alert" hidden></p>
<script nonce="@NONCE">const FACTS = @FACTS;
@SCRIPT</script>
</body></html>
"""

STYLE = """
:root{color-scheme:dark;--ground:#26282c;--panel:#303338;--line:#4a4e55;--text:#eceef1;--soft:#a9afb8;--accent:#7cb7ff;
--good:#6fcf97;--bad:#f2a65a}
*{box-sizing:border-box}
[hidden]{display:none!important}
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;background:var(--ground);
color:var(--text);font:17px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header{display:flex;align-items:center;gap:1rem;padding:.7rem 1.1rem;color:var(--soft);font-size:.9rem}
#bar{flex:1;height:6px;border-radius:3px;background:var(--line);overflow:hidden}
#bar i{display:block;height:100%;width:0;background:var(--accent);border-radius:3px}
#count{min-width:4.5em;text-align:right;font-variant-numeric:tabular-nums}
main{flex:1;display:flex;align-items:center;justify-content:center;padding:0 .8rem 2.5rem}
section{width:100%}
#welcome,#done{max-width:35rem;background:var(--panel);border-radius:14px;padding:1.6rem 2rem}
h1{margin:.2rem 0 .8rem;font-size:1.6rem}
h2{margin:0 0 1.2rem;font-size:1.25rem;font-weight:600;text-align:center}
kbd{font:inherit;font-size:.85em;padding:.05em .45em;border:1px solid var(--line);border-radius:5px;background:#3a3e44}
form{display:flex;gap:.8rem;align-items:end;flex-wrap:wrap;margin-top:1.3rem}
label{flex:1;min-width:12rem;font-size:.9rem;color:var(--soft)}
input{display:block;width:100%;margin-top:.25rem;padding:.55rem .7rem;font:inherit;color:var(--text);
background:var(--ground);border:1px solid var(--line);border-radius:8px}
button{font:inherit;color:var(--text);cursor:pointer}
#go,#next{padding:.6rem 1.6rem;border:0;border-radius:8px;background:var(--accent);color:#10243c;font-weight:600}
#next{display:block;margin:.4rem auto 0}
#next kbd{background:transparent;border-color:#3d6496;font-weight:400}
:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
#pair{display:flex;justify-content:center;align-items:center;gap:min(3vw,2.2rem)}
#cross{width:1.2rem;text-align:center;font-size:1.6rem;color:var(--soft);padding-bottom:2rem}
.side{padding:0;border:0;background:none;text-align:center;border-radius:12px}
.frame{display:flex;align-items:center;justify-content:center;width:min(42vw,58vh,440px);padding:6px;
border:3px solid var(--line);border-radius:12px;background:#1d1f22}
.frame img{display:block;width:100%;height:auto;visibility:hidden}
.frame.crisp img{image-rendering:pixelated}
.shown .frame img{visibility:visible}
.key{display:block;margin-top:.45rem;font-size:.9rem;color:var(--soft)}
@media (hover:hover){.side:hover:not(:disabled) .frame{border-color:var(--soft)}}
.side.picked .frame{border-color:var(--accent)}
.side.real .frame{border-color:var(--good)}
.side:disabled{cursor:default;color:inherit}
#after{min-height:6.6rem}
#feedback{min-height:1.6em;margin:1rem 0 .4rem;text-align:center}
#feedback.good{color:var(--good)}#feedback.bad{color:var(--bad)}
#error{position:fixed;inset:auto 0 0 0;margin:0;padding:.8rem 1.2rem;background:#7a2e2e;text-align:center}
@media (hover:none){#next kbd{display:none}}
@media (max-width:640px){body{font-size:16px}#welcome,#done{padding:1.2rem 1.3rem}#cross{width:.6rem;font-size:1.2rem}
#pair{gap:1vw}.frame{padding:3px;width:44vw}}
"""

SCRIPT = """
"use strict";
const $ = id => document.getElementById(id), sides = {left: $("left"), right: $("right")};
let now = null, phase = "welcome", since = 0, hiding = 0, waiting = null;

if (FACTS.who) { $("asked").hidden = true; $("who").required = false; }
$("timing").textContent = FACTS.seconds
  ? `Each pair is shown for ${FACTS.seconds} seconds only. Look at the + in the middle; you may answer afterwards.`
  : "Take as much time as you like.";

async function send(path, body) {
  let reply;
  try {
    reply = await fetch(path, {method: "POST", headers: {"content-type": "application/json"},
                               body: JSON.stringify(body)});
  } catch (_) {
    throw new Error("The study's program has ended. All answers so far are stored: start it again to go on.");
  }
  const values = await reply.json().catch(() => ({error: `error ${reply.status}`}));
  if (!reply.ok) throw new Error(values.error);
  return values;
}

function fail(error) { $("error").textContent = error.message; $("error").hidden = false; }
function show(id) { for (const s of document.querySelectorAll("section")) s.hidden = s.id !== id; }
const pause = ms => new Promise(done => setTimeout(done, ms));
const painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
function reveal(yes) { $("pair").classList.toggle("shown", yes); }

async function present(state) {
  now = state;
  $("error").hidden = true;
  if (state.done) {
    phase = "done";
    $("bar").firstElementChild.style.width = "100%";
    $("phase").textContent = "Done"; $("count").textContent = "";
    $("result").textContent =
      `In ${state.fooled} of ${state.answers} pairs you took the generated image for the real one.`;
    show("done");
    return;
  }
  phase = "loading";
  $("phase").textContent = state.practice ? "Practice" : "Study";
  $("count").textContent = `${state.number} / ${state.of}`;
  $("bar").firstElementChild.style.width = `${100 * (state.number - 1) / state.of}%`;
  $("question").textContent = "Which one is real?";
  $("feedback").textContent = ""; $("feedback").className = ""; $("next").hidden = true;
  reveal(false);
  for (const side of ["left", "right"]) {
    sides[side].className = "side"; sides[side].disabled = true;
    sides[side].querySelector("img").src = `image/${state[side]}`;
  }
  show("trial");
  try {
    await Promise.all(["left", "right"].map(side => sides[side].querySelector("img").decode()));
  } catch (_) { return fail(new Error("An image could not be loaded: reload the page.")); }
  for (const side of ["left", "right"]) {
    const img = sides[side].querySelector("img"), box = img.parentElement;
    box.classList.toggle("crisp", img.naturalWidth < 128);
  }
  await pause(500);
  if (now !== state) return;
  reveal(true);
  await painted();
  since = performance.now();
  phase = "open";
  for (const side of ["left", "right"]) sides[side].disabled = false;
  if (state.seconds) hiding = setTimeout(() => { if (now === state && phase === "open") reveal(false); },
                                         1000 * state.seconds);
}

async function choose(side) {
  if (phase !== "open") return;
  const ms = performance.now() - since;
  phase = "sending";
  clearTimeout(hiding);
  sides[side].classList.add("picked");
  for (const each of Object.values(sides)) each.disabled = true;
  try {
    const reply = await send("answer", {token: now.token, choice: side, ms});
    if (!now.practice) return await present(reply.next);
    const real = reply.right ? side : side === "left" ? "right" : "left";
    reveal(true);
    sides[side].classList.remove("picked");
    sides[real].classList.add("real");
    $("feedback").textContent = reply.right ? `Right: the ${real} one is real.`
                                            : `Not quite: the ${real} one is real.`;
    $("feedback").className = reply.right ? "good" : "bad";
    waiting = reply.next;
    $("next").hidden = false;
    phase = "feedback";
  } catch (error) {
    fail(error);
    phase = "open";
    sides[side].classList.remove("picked");
    for (const each of Object.values(sides)) each.disabled = false;
  }
}

function goOn() { if (phase === "feedback") { const state = waiting; waiting = null; present(state); } }

$("form").addEventListener("submit", async event => {
  event.preventDefault();
  if (phase !== "welcome") return;
  phase = "starting";
  try { await present(await send("start", {who: $("who").value})); } catch (error) { phase = "welcome"; fail(error); }
});
$("left").addEventListener("click", () => choose("left"));
$("right").addEventListener("click", () => choose("right"));
$("next").addEventListener("click", goOn);
document.addEventListener("keydown", event => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || phase === "welcome") return;
  const side = {ArrowLeft: "left", ArrowRight: "right", f: "left", j: "right"}[event.key];
  if (side) { event.preventDefault(); choose(side); }
  else if (event.key === " " || event.key === "Enter") { event.preventDefault(); goOn(); }
});
(FACTS.who ? $("go") : $("who")).focus();
"""
