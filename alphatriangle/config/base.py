"""What all configuration sections share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

T = TypeVar("T")


class OnResume(StrEnum):
    """What becomes of a field that is changed when a run is resumed; every field says one."""

    live = "live"
    fixed = "fixed"
    irrelevant = "irrelevant"

    @property
    def meaning(self) -> str:
        """In a sentence, for references."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    OnResume.live: "takes effect from the resume on",
    OnResume.fixed: "belongs to the run: a change is refused",
    OnResume.irrelevant: "no part of the training state: may be another at any start",
}

_KEY: Final = "on_resume"

# Kinds of fields, as PostgreSQL's pg_settings.context has them: ``learning_rate: Live[float]``.
Live = Annotated[T, Field(json_schema_extra={_KEY: OnResume.live})]
Fixed = Annotated[T, Field(json_schema_extra={_KEY: OnResume.fixed})]
Irrelevant = Annotated[T, Field(json_schema_extra={_KEY: OnResume.irrelevant})]


@dataclass(frozen=True)
class OnlyFor:
    """The one kind of network on which a field has any effect."""

    network: str


# Within one of the above: ``learning_rate: Live[Convolutional[float]]``.
Convolutional = Annotated[T, OnlyFor("convolutional")]
NTuple = Annotated[T, OnlyFor("ntuple")]


class Section(BaseModel):
    """A frozen section; unknown keys are errors, the text under a field is its description."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


def on_resume(field: FieldInfo) -> OnResume:
    """What the field of a section says of a change on resume.

    Raises:
        TypeError: the field says nothing.
    """
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or _KEY not in extra:
        raise TypeError("a field is Live, Fixed or Irrelevant: see alphatriangle.config.base")
    return OnResume(str(extra[_KEY]))


def only_for(field: FieldInfo) -> str | None:
    """The one kind of network (``model.kind``) that takes notice of the field; None: every kind."""
    found = [mark.network for mark in field.metadata if isinstance(mark, OnlyFor)]
    return found[0] if found else None


def labels(field: FieldInfo) -> str:
    """What references say of a field in a word or two: ``live``, or ``live, convolutional``."""
    network = only_for(field)
    return str(on_resume(field)) + (f", {network}" if network is not None else "")
