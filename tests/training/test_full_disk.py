"""A disk that is full for a while: the run goes on, says so, and saves again when it can."""

from __future__ import annotations

from pathlib import Path

from tests.training.command import alphatriangle, commits, show, start, train_arguments


def test_saves_that_fail_do_not_end_the_run(tmp_path: Path) -> None:
    """The folder of the commits is taken away while training runs, and given back."""
    arguments = train_arguments(tmp_path, "--workers", "0", steps=400)
    process = start(arguments)
    folder = tmp_path / "runs/r/commits"
    aside = tmp_path / "runs/r/aside"
    assert process.stdout is not None
    failures = 0
    output = []
    while len(commits(tmp_path)) < 1:
        assert process.poll() is None
    folder.rename(aside)
    folder.write_text("in the way")
    for line in process.stdout:
        output.append(line)
        if line.startswith("SAVE FAILED"):
            failures += 1
            if failures == 2:
                folder.unlink()
                aside.rename(folder)
    assert process.wait(60) == 0, "".join(output)
    assert failures >= 2
    facts = show(tmp_path)
    assert (facts["step"], facts["state"]) == (400, "complete")
    verified = alphatriangle("runs", "verify", "r", "--data-dir", str(tmp_path))
    assert verified.returncode == 0
