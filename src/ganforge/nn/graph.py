"""Networks for small graphs with kinds of nodes and of edges, and the encodings in which they meet (De Cao & Kipf
2018).

A graph of at most ``nodes`` nodes is a row of whole numbers, int64 [n, nodes + pairs]: the kind of each node (0: there
is none), then of each pair i < j, row by row of the upper triangle (0: no edge). Networks see the same one-hot, or as
shares.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.layers import MinibatchDiscrimination


class GraphCode(nn.Module):
    """Between graphs as whole numbers and codes, [n, nodes x node_kinds + pairs x edge_kinds]: one-hot blocks in the
    same order. Kind 0 of either is "none", and is one of the ``node_kinds``, ``edge_kinds``.
    """

    first: Tensor
    second: Tensor
    square: Tensor

    def __init__(self, nodes: int, node_kinds: int, edge_kinds: int) -> None:
        super().__init__()
        self.nodes, self.node_kinds, self.edge_kinds = nodes, node_kinds, edge_kinds
        first, second = torch.triu_indices(nodes, nodes, 1)
        self.pairs = len(first)
        square = torch.full((nodes, nodes), self.pairs)
        square[first, second] = square[second, first] = torch.arange(self.pairs)
        for name, value in (("first", first), ("second", second), ("square", square.flatten())):
            self.register_buffer(name, value, persistent=False)

    @property
    def size(self) -> int:
        """Numbers in a code."""
        return self.nodes * self.node_kinds + self.pairs * self.edge_kinds

    def split(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks of codes or logits [n, size]: nodes [n, nodes, node_kinds] and pairs [n, pairs, edge_kinds]."""
        at = self.nodes * self.node_kinds
        nodes, pairs = code[:, :at], code[:, at:]
        return nodes.reshape(-1, self.nodes, self.node_kinds), pairs.reshape(-1, self.pairs, self.edge_kinds)

    def join(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """What ``split`` took apart."""
        return torch.cat([nodes.flatten(1), pairs.flatten(1)], 1)

    def encode(self, graphs: Tensor) -> Tensor:
        """Whole numbers [n, nodes + pairs] to one-hot codes, float32 [n, size]."""
        nodes = F.one_hot(graphs[:, : self.nodes], self.node_kinds)
        pairs = F.one_hot(graphs[:, self.nodes :], self.edge_kinds)
        return self.join(nodes, pairs).float()

    def soften(self, logits: Tensor, temperature: float = 1.0, straight: bool = True) -> Tensor:
        """What a generator makes [n, size], its noise added, as codes that can be differentiated.

        The softmax of each block; with ``straight`` the one-hot of its largest share, through which the gradient goes
        as through the softmax (Jang et al. 2017, sec. 2.2). A pair without both of its nodes has no edge.
        """
        parts = [(x / temperature).softmax(-1) for x in self.split(logits)]
        if straight:
            hard = [F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype) for x in parts]
            parts = [h + (x - x.detach()) for h, x in zip(hard, parts, strict=True)]
        nodes, pairs = parts
        there = 1 - nodes[..., 0]
        edges = pairs[..., 1:] * (there[:, self.first] * there[:, self.second]).unsqueeze(-1)
        return self.join(nodes, torch.cat([1 - edges.sum(-1, keepdim=True), edges], -1))

    def harden(self, logits: Tensor) -> Tensor:
        """What a generator makes [n, size] as graphs, int64 [n, nodes + pairs]: the largest of each block."""
        nodes, pairs = (x.argmax(-1) for x in self.split(logits))
        there = nodes > 0
        return torch.cat([nodes, pairs * (there[:, self.first] & there[:, self.second])], 1)

    def square_of(self, pairs: Tensor) -> Tensor:
        """Pairs [n, pairs, ...] as symmetric matrices [n, nodes, nodes, ...] with zeros on the diagonal."""
        padded = torch.cat([pairs, torch.zeros_like(pairs[:, :1])], 1)
        return padded.index_select(1, self.square).unflatten(1, (self.nodes, self.nodes))

    def repair(self, logits: Tensor, room: Tensor, known: Tensor | None = None) -> Tensor:
        """Graphs as ``harden`` gives them, made to obey: no node has edges of more than ``room`` in sum, and all nodes
        are connected. int64 [n, nodes + pairs].

        ``room`` [node_kinds] is what a node of each kind can hold, where an edge of kind k takes up k; ``known``, bool
        [node_kinds, node_kinds, edge_kinds], which edges there are between nodes of two kinds (None: any). Edges are
        accepted surest first, each as large as still fits and is known; then pieces are joined by the likeliest known
        edges of kind 1 that fit; then only the largest piece is kept (of equals, that of the first node). A graph
        without nodes gets its likeliest one; one that obeys already stays as it is, whatever its edges.
        """
        graphs = self.harden(logits)
        nodes, pairs = graphs[:, : self.nodes], graphs[:, self.nodes :]
        likely = self.split(logits)[0][..., 1:].flatten(1).argmax(1, keepdim=True)
        first = torch.zeros_like(nodes).scatter(1, likely // (self.node_kinds - 1), likely % (self.node_kinds - 1) + 1)
        nodes = torch.where((nodes > 0).any(1, keepdim=True), nodes, first)
        if known is None:
            known = torch.ones(self.node_kinds, self.node_kinds, self.edge_kinds, dtype=torch.bool, device=room.device)
        fine = self.obeys(nodes, pairs, room)
        allowed = known[nodes[:, self.first], nodes[:, self.second]] | fine[:, None, None]
        shares = self.split(logits)[1].softmax(-1)
        sure = shares.gather(-1, pairs.unsqueeze(-1)).squeeze(-1)
        order = sure.masked_fill(pairs == 0, -1.0).argsort(dim=1, descending=True, stable=True)
        left = room.to(nodes)[nodes]
        kept = torch.zeros_like(pairs)
        kinds = torch.arange(self.edge_kinds, device=nodes.device)
        for k in range(self.pairs):
            pair = order[:, k : k + 1]
            ends = torch.cat([self.first[pair], self.second[pair]], 1)
            most = torch.minimum(pairs.gather(1, pair), left.gather(1, ends).amin(1, keepdim=True)).clamp_min(0)
            may = allowed.gather(1, pair.unsqueeze(-1).expand(-1, 1, self.edge_kinds)).squeeze(1)
            fits = (kinds * (may & (kinds <= most))).amax(1, keepdim=True)
            kept.scatter_(1, pair, fits)
            left = left.scatter_add(1, ends, -fits.expand(-1, 2))
        kept = self.joined(nodes, kept, left, shares[..., 1].masked_fill(~allowed[..., 1], 0.0))
        piece = largest_piece(nodes > 0, self.square_of(kept) > 0)
        return torch.cat([nodes * piece, kept * (piece[:, self.first] & piece[:, self.second])], 1)

    def obeys(self, nodes: Tensor, pairs: Tensor, room: Tensor) -> Tensor:
        """Which graphs have nodes, all connected and with room for their edges: bool [n]."""
        edges = self.square_of(pairs)
        fits = (edges.sum(-1) <= room.to(nodes)[nodes]).all(1)
        there = nodes > 0
        return fits & there.any(1) & (largest_piece(there, edges > 0) == there).all(1)

    def joined(self, nodes: Tensor, pairs: Tensor, left: Tensor, wanted: Tensor) -> Tensor:
        """Edges [n, pairs] and, while a graph has several pieces, the most ``wanted`` [n, pairs] edge of kind 1 between
        two of them, where both of its nodes have something ``left`` [n, nodes].
        """
        there = nodes > 0
        for _ in range(self.nodes - 1):
            apart = ~reachable(there, self.square_of(pairs) > 0)[:, self.first, self.second]
            free = (left > 0) & there
            found = wanted.masked_fill(~(apart & free[:, self.first] & free[:, self.second]), 0.0)
            best, pair = found.max(1, keepdim=True)
            new = (best > 0).to(pairs)
            if not bool(new.any()):
                break
            pairs = pairs.scatter_add(1, pair, new)
            ends = torch.cat([self.first[pair], self.second[pair]], 1)
            left = left.scatter_add(1, ends, -new.expand(-1, 2))
        return pairs


def reachable(there: Tensor, edges: Tensor) -> Tensor:
    """Which nodes can be reached from which: bool [n, nodes, nodes], of ``there`` [n, nodes] and edges [n, nodes,
    nodes].
    """
    reach = (edges | torch.eye(edges.shape[1], dtype=torch.bool, device=edges.device)).float()
    for _ in range(max(1, (edges.shape[1] - 1).bit_length())):
        reach = (reach @ reach).clamp_max(1.0)
    return (reach > 0) & there.unsqueeze(1) & there.unsqueeze(2)


def largest_piece(there: Tensor, edges: Tensor) -> Tensor:
    """The nodes of the largest connected piece of each graph: bool [n, nodes]."""
    reach = reachable(there, edges)
    most = reach.sum(-1).argmax(1)
    return reach[torch.arange(len(reach), device=reach.device), most]


class GraphGenerator(nn.Module):
    """Latents [n, latent] to logits of a code [n, size].

    An MLP of ``depth`` layers, as in the paper (sec. 3.1), gives every node and every pair its features at once; in
    each of ``rounds`` of message passing a pair then hears its two nodes, and a node its pairs, so that the edges of a
    node can be made to agree. With 0 rounds it is the paper's generator.
    """

    def __init__(
        self, latent: int, code: GraphCode, width: int = 256, depth: int = 2, rounds: int = 2, features: int = 32
    ) -> None:
        super().__init__()
        self.code, self.rounds, self.features = code, rounds, features
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(width if i else latent, width), nn.BatchNorm1d(width), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        if not rounds:
            self.head = nn.Linear(width, code.size)
            return
        self.nodes = nn.Linear(width, code.nodes * features)
        self.edges = nn.Linear(width, code.pairs * features)
        self.hear = nn.ModuleList(Talk(features) for _ in range(rounds))
        for head in (self.nodes, self.edges):
            nn.init.normal_(head.weight, std=1.5 / width**0.5)
        self.node_head = nn.Linear(features, code.node_kinds)
        self.edge_head = nn.Linear(features, code.edge_kinds)

    def forward(self, z: Tensor) -> Tensor:
        h = self.trunk(z)
        if not self.rounds:
            return self.head(h)
        nodes = self.nodes(h).unflatten(1, (self.code.nodes, self.features))
        edges = self.edges(h).unflatten(1, (self.code.pairs, self.features))
        for talk in self.hear:
            nodes, edges = talk(self.code, nodes, edges)
        return self.code.join(self.node_head(nodes), self.edge_head(edges))


class Talk(nn.Module):
    """A round of message passing between nodes and the pairs of nodes; both keep what they had (residual)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.edge_norm, self.node_norm = nn.LayerNorm(features), nn.LayerNorm(features)
        self.to_edge, self.edge_in = nn.Linear(features, 2 * features, bias=False), nn.Linear(features, 2 * features)
        self.edge_out = nn.Linear(2 * features, features)
        self.node_in, self.of_edges = nn.Linear(features, 2 * features), nn.Linear(features, 2 * features, bias=False)
        self.node_out = nn.Linear(2 * features, features)

    def forward(self, code: GraphCode, nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        said = self.to_edge(self.node_norm(nodes))
        both = said.index_select(1, code.first) + said.index_select(1, code.second)
        edges = edges + self.edge_out(F.silu(self.edge_in(self.edge_norm(edges)) + both))
        summed = torch.zeros_like(nodes).index_add(1, code.first, edges).index_add(1, code.second, edges)
        heard = self.node_in(self.node_norm(nodes)) + self.of_edges(summed / code.nodes**0.5)
        return nodes + self.node_out(F.silu(heard)), edges


class GraphCritic(nn.Module):
    """Codes [n, size] to logits [n / pack]: a relational graph convolution network (De Cao & Kipf 2018, eq. 5 and 6).

    h_i <- act(W h_i + sum over j and edge kinds y of A_ijy V_y h_j), with what h_i was added; at the end the sum over
    nodes of sigmoid(a(h_i)) x b(h_i), and an MLP. The order of nodes does not matter. ``pack`` graphs are judged at
    once (PacGAN). Unlike the paper messages are not divided by the degree, so that the sum of a node's edges is seen,
    and nodes without a kind say nothing.
    """

    def __init__(
        self, code: GraphCode, width: int = 64, depth: int = 3, pack: int = 1, hidden: int = 128, kernels: int = 0
    ) -> None:
        super().__init__()
        self.code, self.pack = code, pack
        kinds = code.edge_kinds - 1
        self.enter = nn.Linear(code.node_kinds + kinds, width)
        self.stay = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.send = nn.ModuleList(nn.Linear(width, kinds * width, bias=False) for _ in range(depth))
        self.gate, self.value = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.alike = MinibatchDiscrimination(hidden, kernels) if kernels else nn.Identity()
        self.last = nn.Sequential(nn.Linear((hidden + kernels) * pack, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        nodes, pairs = self.code.split(x)
        edges = self.code.square_of(pairs[..., 1:])  # [n, i, j, y]
        there = 1 - nodes[..., :1]
        h = F.leaky_relu(self.enter(torch.cat([nodes, edges.sum(2)], -1)), 0.2)
        n, size, _, kinds = edges.shape
        matrix = edges.transpose(2, 3).reshape(n, size, kinds * size)  # [n, i, (y, j)]
        for stay, send in zip(self.stay, self.send, strict=True):
            sent = send(h).unflatten(-1, (kinds, -1)).transpose(1, 2).reshape(n, kinds * size, -1)  # [n, (y, j), d]
            h = h + F.leaky_relu(stay(h) + matrix @ sent, 0.2)
        pooled = (self.gate(h).sigmoid() * self.value(h) * there).sum(1)
        pooled = self.alike(pooled)
        return self.last(pooled.reshape(n // self.pack, -1)).squeeze(1)
