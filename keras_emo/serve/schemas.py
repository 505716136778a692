"""Shapes of requests and answers, for the OpenAPI description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from keras_emo.labels import EMOTIONS

Probs = dict[str, float]
_PROBS = f"probability of each of {', '.join(EMOTIONS)}"


class Cause(BaseModel):
    reason: str = Field(description="a code, as the command line has it")
    cause: str


class Error(BaseModel):
    error: Cause


class ProtocolError(BaseModel):
    error: str


class Faces(BaseModel):
    with_face: int
    examined: int


class Damage(BaseModel):
    packets: int
    missing_s: float


class ClipAnswer(BaseModel):
    path: str | None = Field(description="the client's own file name")
    label: str
    confidence: float = Field(description="the probability of the label")
    probs: Probs = Field(description=_PROBS)
    modalities: list[str]
    states: list[str] = Field(description="why a modality is missing")
    faces: Faces
    duration_s: float
    damage: Damage
    warnings: list[str]
    probs_face: Probs | None = Field(None, description="from the face alone, with parts=true")
    probs_voice: Probs | None = Field(None, description="from the voice alone, with parts=true")


class Face(BaseModel):
    id: int | None = Field(description="the same for a person who was followed")
    box: list[float] = Field(description="x, y, width, height in px of the upright picture")


class Window(BaseModel):
    start_s: float
    end_s: float
    label: str | None
    confidence: float | None
    probs: Probs | None = Field(description=f"{_PROBS}; null where it abstains")
    modalities: list[str]
    states: list[str]
    face: Face | None
    probs_face: Probs | None = Field(None, description="from the face alone, with parts=true")
    probs_voice: Probs | None = Field(None, description="from the voice alone, with parts=true")


class Segment(BaseModel):
    start_s: float
    end_s: float
    label: str | None
    confidence: float | None


class Timeline(BaseModel):
    schema_: int = Field(alias="schema")
    path: str | None = Field(description="the client's own file name")
    window_s: float
    hop_s: float
    windows: list[Window]
    segments: list[Segment]
    duration_s: float
    damage: Damage
    warnings: list[str]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 where a size may vary")


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InputTensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class OutputTensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float] | None = None
    parameters: dict[str, Any] | None = None


class WantedOutput(BaseModel):
    name: str
    parameters: dict[str, Any] | None = None


class InferenceAnswer(BaseModel):
    model_name: str
    id: str | None = None
    outputs: list[OutputTensor]


def describe_request() -> dict[str, Any]:
    """The schema of an inference request, which is read without pydantic."""
    return {
        "title": "InferenceRequest",
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": InputTensor.model_json_schema()},
            "outputs": {"type": "array", "items": WantedOutput.model_json_schema()},
        },
    }
