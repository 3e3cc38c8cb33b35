"""What MLflow raises when its store or server fails, and how to speak of it."""

from __future__ import annotations

import re
import sqlite3


def mlflow_errors() -> tuple[type[Exception], ...]:
    """To be caught where a failing MLflow must not stop training. Imports MLflow.

    ``CommandError`` is a database of a newer MLflow; those of requests are ``OSError``.
    """
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError)


def masked(text: str) -> str:
    """``text`` without the user names and passwords of the addresses in it."""
    return re.sub(r"://[^/\s]*@", "://***@", text)
