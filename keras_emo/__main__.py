"""``python -m keras_emo`` is ``keras-emo``."""

import sys

from keras_emo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
