"""A second, quick judge of text2image on scenes: python bench/text2image_quick.py RUN (4 CPU-seconds).

Layout from the spread of brightness, colors by their angle, digits by a support vector machine that learned from real
scenes of glyphs that the GAN has not seen. Prints, for prompts trained on and never trained on, how many factors are
right in real scenes (ceiling) and in the model's. 300 prompts a part.
"""

# ruff: noqa
import sys, torch, numpy as np, time

torch.set_num_threads(1)
import torch.nn.functional as F
import ganforge
from ganforge.domains import open_data
from ganforge.domains.captions_made import MadeSource, parts, COLORS
from sklearn.svm import SVC

m = ganforge.load(sys.argv[1])
d, s = open_data("scenes", kinds=("captions",))
g = s.grammar
C = F.normalize(torch.tensor(list(COLORS.values())).float(), dim=1)


def look(x):
    x = (x.float() + 1) / 2
    v = x.amax(1)
    yy, xx = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    w = v / v.sum((1, 2), keepdim=True)
    vx = (w * xx**2).sum((1, 2)) - (w * xx).sum((1, 2)) ** 2
    vy = (w * yy**2).sum((1, 2)) - (w * yy).sum((1, 2)) ** 2
    lay = (vy > vx).long()
    cols = []
    crops = []
    for k in (0, 1):
        h = torch.stack([(im.chunk(2, 2)[k] if l == 0 else im.chunk(2, 1)[k].transpose(1, 2)) for im, l in zip(x, lay)])
        hv = h.amax(1, keepdim=True)
        c = (h * (hv > 0.4)).sum((2, 3))
        cols.append((F.normalize(c, dim=1) @ C.T).argmax(1))
        hh = hv[:, 0]
        hh = torch.where(
            lay[:, None, None] == 1,
            hh.transpose(1, 2).reshape(len(x), -1)[:, :].view(len(x), 16, 32).transpose(1, 2),
            hh,
        )
        u = hh / hh.sum((1, 2), keepdim=True)
        cy = (u * torch.arange(32.0)[None, :, None]).sum((1, 2)).round().long().clamp(8, 24)
        cx = (u * torch.arange(16.0)[None, None]).sum((1, 2)).round().long()
        p = F.pad(hh, (8, 8))
        crops.append(
            torch.stack(
                [F.normalize(p[i, cy[i] - 8 : cy[i] + 8, cx[i] : cx[i] + 16].flatten(), dim=0) for i in range(len(x))]
            )
        )
    return lay, cols, crops


def real(rows, held, n, seed):
    src = MadeSource(g, rows, held, n, seed, s.tokens)
    r = torch.arange(n)
    return src, d.encode(src.take(r))["data"], src.factors(r)


_, x, f = real(np.arange(7200), True, 1500, 77)
_, _, cr = look(x)
ok = torch.cat([f[:, 2], f[:, 4]])
svc = SVC(C=10, gamma=8).fit(torch.cat(cr).numpy(), ok.numpy())


def score(n, x, f):
    l, c, cr = look(x)
    dg = [torch.from_numpy(svc.predict(q.numpy())) for q in cr]
    R = torch.stack([l == f[:, 0], c[0] == f[:, 1], dg[0] == f[:, 2], c[1] == f[:, 3], dg[1] == f[:, 4]], 1).float()
    print(
        n,
        "factors %.1f" % (100 * R.mean()),
        "all %.1f" % (100 * R.prod(1).mean()),
        [round(100 * v, 1) for v in R.mean(0).tolist()],
        flush=True,
    )


for part, rows in parts(g).items():
    src, x, f = real(rows, False, 300, 5)
    score("ceiling " + part, x, f)
    cap = [d.spoken(src.tokens[src.rows[i]])[i % 2] for i in range(300)]
    score("model   " + part, m.encoded(300, 0, prompt=cap)["data"], f)
print(time.process_time())
