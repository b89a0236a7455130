"""The base of everything that is validated when it is read from a file."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A value that does not change and knows all of its fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, from_attributes=True
    )
