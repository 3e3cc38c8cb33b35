"""Look into the replay with other tools: segments are plain Arrow files.

First: examples/train_and_resume.py. Needs polars and duckdb.
"""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset

segments = sorted(Path(".alphatriangle_data/runs/example/buffers/segments").glob("*.arrow"))

# Polars: how sure the policy targets are, by how many shapes are left in the slots.
rows = pl.concat([pl.read_ipc(path) for path in segments])
shapes_left = pl.col("slots").arr.to_list().list.eval(pl.element() >= 0).list.sum()
entropy = (
    -pl.col("policy")
    .list.eval(pl.when(pl.element() > 0).then(pl.element() * pl.element().log()).otherwise(0.0))
    .list.sum()
)
table = rows.group_by(shapes_left.alias("shapes left")).agg(
    pl.len().alias("rows"), entropy.mean().alias("entropy"), pl.col("n_step_return").mean()
)
print(table.sort("shapes left"))

# DuckDB: SQL over the same files.
replay = pyarrow.dataset.dataset(segments, format="ipc")
print(duckdb.sql("SELECT count(*) AS rows, max(n_step_return) AS best FROM replay"))
