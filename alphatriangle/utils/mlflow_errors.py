"""What MLflow raises when its store or server fails."""

from __future__ import annotations


def mlflow_errors() -> tuple[type[Exception], ...]:
    """To be caught where a failing MLflow must not stop training. Imports MLflow."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, OSError)
