#!/usr/bin/env python3
"""Train the networks: ``python train.py --data DIR --out runs/NAME``."""

import sys

from keras_emo.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
