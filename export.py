#!/usr/bin/env python3
"""Export trained networks: ``python export.py --run runs/NAME --model all --out saved_models``."""

import sys

from keras_emo.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
