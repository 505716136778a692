"""config.json of a run folder: what the run was asked to do, and with which data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_emo.data.splits import Split
from keras_emo.io import naming_content, read_record
from keras_emo.training.config import TrainConfig, order_stages

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class RunManifest:
    """Settings and data of a run.

    clips: digest of the prepared clips. start: digests of what the first stage starts from.
    """

    config: TrainConfig
    split: Split
    corpus: str
    clips: str
    start: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "split": self.split.to_dict(),
            "corpus": self.corpus,
            "clips": self.clips,
            "start": dict(self.start),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunManifest:
        """Inverse of to_dict. Raises KeyError, TypeError or ValueError."""
        return cls(
            TrainConfig.from_dict(data["config"]),
            Split.from_dict(data["split"]),
            data["corpus"],
            data["clips"],
            dict(data.get("start", {})),
        )

    def list_differences(self, asked: RunManifest) -> list[str]:
        """Settings in which the asked run differs, of the stages that both have."""
        both = set(self.config.stages) & set(asked.config.stages)
        there, wanted = (_flatten(m.to_dict(), both) for m in (self, asked))
        return [
            f"{key} is {there.get(key)!r}, asked {wanted.get(key)!r}"
            for key in {**there, **wanted}
            if there.get(key) != wanted.get(key)
        ]

    def extend(self, asked: RunManifest) -> RunManifest:
        """The asked run with the stages that were trained before."""
        stages = order_stages((*self.config.stages, *asked.config.stages))
        stage = {**self.config.stage, **asked.config.stage}
        config = dataclasses.replace(asked.config, stages=stages, stage=stage)
        return dataclasses.replace(asked, config=config)


def read_manifest(folder: Path, advice: str = "") -> RunManifest:
    """The manifest of a run folder. Raises UsageError where it is missing or damaged."""
    data = read_record(folder / CONFIG_FILE)
    with naming_content(folder / CONFIG_FILE, advice):
        return RunManifest.from_dict(data)


def _flatten(data: dict[str, Any], stages: set[str]) -> dict[str, Any]:
    """Values by dotted key, of the given stages only."""
    config = data["config"]
    kept = {name: config["stage"][name] for name in config["stage"] if name in stages}
    data = {**data, "config": {**config, "stage": kept}}
    del data["config"]["stages"]
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if not isinstance(value, dict):
            flat[prefix] = value
            return
        for key, inner in value.items():
            walk(f"{prefix}.{key}" if prefix else key, inner)

    walk("", data)
    return flat
