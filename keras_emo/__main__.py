"""``python -m keras_emo`` is ``keras-emo``."""

import sys

from keras_emo.cli import main

if __name__ == "__main__":
    sys.exit(main())
