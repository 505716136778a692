"""The pretrain stage: the face network on single pictures, sorted into folders by class."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from keras_emo.data.pipeline import Schedule, stream_images
from keras_emo.errors import Reason, UsageError
from keras_emo.inference.batch import softmax
from keras_emo.io import digest_file, write_json
from keras_emo.labels import EMOTION_INDEX, EMOTIONS
from keras_emo.media.reader import IMAGE_SUFFIXES, read_image
from keras_emo.metrics import score
from keras_emo.networks import load_weights
from keras_emo.progress import Progress
from keras_emo.training.callbacks import save_model
from keras_emo.training.checkpoint import drop_checkpoints
from keras_emo.training.config import PRETRAIN
from keras_emo.training.evaluate import run_keras
from keras_emo.training.fit import fit
from keras_emo.training.run import METRICS_FILE, MODEL_FILE, Run

VAL_SHARE = 10  # every tenth picture, by the hash of its content
BATCH = 64


def pretrain_visual(run: Run, root: Path, init_from: Path | None) -> None:
    """Train the face network on root/<class>/*.jpg|png (FER2013's layout), at any depth.

    Pictures, gray or color, are used as face crops and scaled to the crop size, all held in
    memory (150 KB each at 224 px). A tenth of them, chosen by content, serves for validation.
    """
    stage = run.config.of_stage(PRETRAIN)
    folder, replicas = run.folder / PRETRAIN, run.replicas
    replicas.on_coordinator(lambda: folder.mkdir(exist_ok=True))
    faces, labels, held = read_images_by_class(root, run.config.clip.face.size_px)
    if not held.any() or held.all():
        cause = f"{len(faces)} pictures are too few to hold a tenth back"
        raise UsageError(root, Reason.NO_CLIPS, cause)
    model = run.build_trainee(run.config.visual)
    if init_from is not None:
        load_weights(model, init_from)
    checkpoints, first = run.restore(PRETRAIN)
    schedule = Schedule(stage.batch, run.config.seed, first, replicas.share)
    data, steps = stream_images(faces[~held], labels[~held], schedule, run.config.faces)
    check, truth = faces[held], labels[held]
    forward = run_keras(model)

    def predict() -> np.ndarray:
        logits = [
            forward({"face": check[i : i + BATCH].astype(np.float32)})["logits"]
            for i in range(0, len(check), BATCH)
        ]
        return softmax(np.concatenate(logits))

    fit(run, checkpoints, model, data, steps, predict, truth)

    def finish() -> None:
        results = {
            "source": root.resolve().name,
            "n_train": int((~held).sum()),
            "n_val": int(held.sum()),
            "val": asdict(score(truth, predict().argmax(axis=1))),
        }
        save_model(run.finalize(run.config.visual, model), folder / MODEL_FILE)
        write_json(folder / METRICS_FILE, results)
        drop_checkpoints(folder)

    replicas.on_coordinator(finish)


def read_images_by_class(root: Path, size_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures uint8 (n, size, size, 3) RGB, labels int32 (n,), held-out flags bool (n,).

    The class is the name of the nearest folder that is an emotion's. The same content twice
    counts once. Raises UsageError where nothing is found, ClipError for a
    picture that cannot be read.
    """
    if not root.is_dir():
        raise UsageError(root, Reason.NOT_FOUND, "no such folder")
    found: dict[str, tuple[Path, int]] = {}
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
        names = [p.name.lower() for p in path.relative_to(root).parents]
        label = next((EMOTION_INDEX[n] for n in names if n in EMOTION_INDEX), None)
        if label is not None:
            found.setdefault(digest_file(path), (path, label))
    if not found:
        cause = f"no pictures in folders named {', '.join(EMOTIONS)}"
        raise UsageError(root, Reason.NO_CLIPS, cause)
    faces = np.empty((len(found), size_px, size_px, 3), np.uint8)
    with Progress("pictures of faces", "pictures") as progress:
        for i, (path, _) in enumerate(found.values()):
            picture = read_image(path)
            shrinking = max(picture.shape[:2]) > size_px
            how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
            faces[i] = cv2.resize(picture, (size_px, size_px), interpolation=how)
            progress(i + 1, len(found))
    labels = np.array([label for _, label in found.values()], np.int32)
    held = np.array([int(digest[:8], 16) % VAL_SHARE == 0 for digest in found])
    return faces, labels, held
