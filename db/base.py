"""What all tables share: their schema, how constraints are named, how types are written."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Double, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase

SCHEMA = "errander"

PRIORITIES = "'high', 'default', 'low'"
"""For a constraint."""


class Base(DeclarativeBase):
    """All tables; names of constraints are fixed, because errors are recognised by them."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "ck": "%(table_name)s_%(constraint_name)s",
            "ix": "%(table_name)s_%(column_0_N_name)s",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: TIMESTAMP(timezone=True),
        str: Text,
        float: Double,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        list[UUID]: ARRAY(Uuid),
    }
