"""Work on a local copy of a bucket: `python -m etude.launch.bucket BUCKET FOLDER COMMAND...`.

Launchers mount buckets as folders in which no file can be appended to or changed, only written whole. So the command
works in FOLDER, and its runs are saved to BUCKET: while it works, as one file once in SAVE_SECONDS, and at the end as
a folder. After a preemption the same line continues from what was saved.
"""

import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

RUNS = "runs"
SNAPSHOTS = ("runs-0.tar", "runs-1.tar")
"""They are written in turn, so one is whole if the machine ends while the other is written."""
SAVE_SECONDS = 60.0


def run_in_copy(bucket: Path, folder: Path, command: Sequence[str], save_seconds: float = SAVE_SECONDS) -> int:
    """Copy the bucket to a folder, run a command there, and save its runs; return the command's exit code.

    SIGTERM and SIGINT end the command before the last save.
    """
    restore(bucket, folder)
    process = subprocess.Popen(command, cwd=folder)
    signals = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.signal(number, lambda received, frame: process.send_signal(received)) for number in signals]
    while process.poll() is None:
        try:
            process.wait(save_seconds)
        except subprocess.TimeoutExpired:
            save_snapshot(folder, bucket)
    for number, handler in zip(signals, handlers, strict=True):
        signal.signal(number, handler)
    # The snapshot first: it is quick, and if this machine ends while files are copied, the next one starts with it.
    if save_snapshot(folder, bucket):
        copy_files(folder / RUNS, bucket / RUNS)
        for path in bucket.glob(f"{RUNS}-*"):
            path.unlink()
    return process.returncode


def restore(bucket: Path, folder: Path) -> None:
    """Copy the bucket's files to a folder, with the runs of the last snapshot."""
    copy_files(bucket, folder)
    if snapshots := list_snapshots(bucket):
        with tarfile.open(snapshots[-1]) as archive:
            archive.extractall(folder, filter="data")


def list_snapshots(bucket: Path) -> list[Path]:
    """List the snapshots that are whole, the latest last."""
    sizes = [path for name in SNAPSHOTS if (path := (bucket / name).with_suffix(".size")).exists()]
    files = [(size, size.with_suffix(".tar")) for size in sorted(sizes, key=lambda path: path.stat().st_mtime)]
    return [tar for size, tar in files if size.read_text() == str(tar.stat().st_size)]


def save_snapshot(folder: Path, bucket: Path) -> bool:
    """Save the runs as one file; return False without runs, and if a file was replaced meanwhile."""
    if not (folder / RUNS).is_dir():
        return False
    files = [path for path in (folder / RUNS).rglob("*") if path.is_file()]
    # A .json file is written after the lines and weights that it counts, so it is read before them.
    files.sort(key=lambda path: path.suffix != ".json")
    latest = [path.name for path in list_snapshots(bucket)[-1:]]
    name = next(name for name in SNAPSHOTS if name not in latest)
    archive_file = folder / name
    try:
        with tarfile.open(archive_file, "w") as archive:
            for path in files:
                archive.add(path, path.relative_to(folder))
    except OSError:
        return False
    shutil.copyfile(archive_file, bucket / name)
    # Written last: a snapshot of another size is not whole.
    (bucket / name).with_suffix(".size").write_text(str(archive_file.stat().st_size))
    archive_file.unlink()
    return True


def copy_files(source: Path, target: Path) -> None:
    """Copy all files below a folder, each written once from its beginning to its end, without times and rights."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.relative_to(source))


if __name__ == "__main__":
    sys.exit(run_in_copy(Path(sys.argv[1]), Path(sys.argv[2]).expanduser(), sys.argv[3:]))
