"""The networks of benchmarks/training_step.py in PyTorch, and their training step.

A process that measures on request: reads lines of ``VARIANT STEPS``, writes seconds.

Started by training_step.py. python benchmarks/torch_step.py residual|alexnet --threads 2
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

VARIANTS = ("eager", "compiled", "bfloat16")


def convolve(inputs: int, outputs: int, kernel: int, stride: int = 1, pad: int | None = None):
    """Convolution without bias, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if pad is None else pad, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = convolve(inputs, outputs, 3, stride)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs, eps=1e-3)
        )
        skip: list[nn.Module] = [nn.AvgPool2d(stride)] if stride != 1 else []
        if inputs != outputs:
            skip += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps=1e-3)]
        self.skip = nn.Sequential(*skip)

    def forward(self, x):
        return functional.relu(self.second(self.first(x)) + self.skip(x))


class Residual(nn.Module):
    """visual_residual, width 0.75, of 64 px."""

    SIZE_PX = 64

    def __init__(self):
        super().__init__()
        channels = (16, 32, 72, 120)
        self.stem = convolve(1, channels[0], 5, 2)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(Block(a, b, 2), Block(b, b, 1), nn.Dropout2d(0.05))
                for a, b in pairwise(channels)
            )
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(channels[-1], 7))
        self.register_buffer("grey", torch.tensor([0.299, 0.587, 0.114])[None, :, None, None])

    def forward(self, x):
        x = (x * self.grey).sum(1, keepdim=True)
        x = x - x.mean((1, 2, 3), keepdim=True)
        x = x / ((x * x).mean((1, 2, 3), keepdim=True).sqrt() + 8.0)
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class AlexNet(nn.Module):
    """visual_alexnet, the compact preset."""

    SIZE_PX = 224

    def __init__(self):
        super().__init__()
        c1, c2, c3, c4, c5, units = 24, 72, 144, 96, 96, 256
        self.features = nn.Sequential(
            convolve(3, c1, 11, 4, 4), nn.MaxPool2d(3, 2), convolve(c1, c2, 5), nn.MaxPool2d(3, 2),
            convolve(c2, c3, 3), convolve(c3, c4, 3), convolve(c4, c5, 3), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.4), nn.Linear(c5 * 36, units), nn.BatchNorm1d(units, eps=1e-3), nn.ReLU(),
            nn.Dropout(0.4), nn.Linear(units, units), nn.BatchNorm1d(units, eps=1e-3), nn.ReLU(),
            nn.Linear(units, 7),
        )  # fmt: skip

    def forward(self, x):
        return self.head(self.features(x / 127.5 - 1.0))


def make_step(net: nn.Module, x, y, weights, variant: str):
    """Forward, backward, clipping and AdamW over constant examples."""
    optimizer = torch.optim.AdamW(net.parameters(), 1e-4, eps=1e-7, weight_decay=0.02, fused=True)
    run = torch.compile(net) if variant == "compiled" else net

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bfloat16"):
            logits = run(x)
        losses = functional.cross_entropy(logits.float(), y, reduction="none", label_smoothing=0.1)
        (losses * weights).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net", choices=("residual", "alexnet"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--layout", default="channels_last")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    kind = Residual if options.net == "residual" else AlexNet
    layout = getattr(torch, options.layout)
    x = torch.rand(options.batch, 3, kind.SIZE_PX, kind.SIZE_PX) * 255
    x, y = x.to(memory_format=layout), torch.randint(0, 7, (options.batch,))
    weights = torch.rand(options.batch) + 0.5
    steps = {}
    for variant in VARIANTS:
        net = kind().to(memory_format=layout).train()
        steps[variant] = make_step(net, x, y, weights, variant)
    n_parameters = sum(p.numel() for p in net.parameters())
    print(f"torch {torch.__version__} {n_parameters}", flush=True)
    for line in sys.stdin:
        variant, n = line.split()
        start_s = time.perf_counter()
        for _ in range(int(n)):
            steps[variant]()
        print(time.perf_counter() - start_s, flush=True)


if __name__ == "__main__":
    main()
