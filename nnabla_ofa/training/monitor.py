"""Training curves on disk: NNabla monitor series (text) and TensorBoard events, from one call."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from nnabla.logger import logger
from nnabla.monitor import Monitor, MonitorSeries


class SeriesLog:
    """Named series of (step, value) under `folder`; create it on one rank only.

    `log.add("kernel/loss", step, value)` adds the line "step value" to
    `<folder>/kernel/loss.series.txt`, as `nnabla.monitor.MonitorSeries` writes it, and a scalar to
    the TensorBoard events in `<folder>/tensorboard`. Steps of one name ascend. A resumed run goes
    on where it resumes: a name's first `add` keeps its older lines with smaller steps.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._series = {}
        self._writer = _tensorboard_writer(self._folder / "tensorboard")

    def add(self, name: str, step: int, value: float) -> None:
        """Add one value; the text file is flushed at once, TensorBoard's every two minutes."""
        if name not in self._series:
            self._series[name] = _open_series(self._folder, name, step)
        self._series[name].add(step, float(value))
        if self._writer is not None:
            self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Flush and close; a later `add` is an error of the caller."""
        if self._writer is not None:
            self._writer.close()


def _open_series(folder: Path, name: str, first_step: int) -> MonitorSeries:
    """A series that holds the lines before `first_step`; NNabla's own empties its file."""
    path = folder / (name.replace(" ", "-") + ".series.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.with_name(path.name + ".tmp")
    for link in filter(Path.is_symlink, (path, kept)):  # another file would be written through it
        link.unlink()
    lines = path.read_text().splitlines() if path.exists() else []
    kept.write_text("".join(f"{line}\n" for line in lines
                            if line.strip() and int(line.split()[0]) < first_step))
    series = MonitorSeries(name, Monitor(str(folder)), interval=1, verbose=False)
    os.replace(kept, path)
    return series


def _tensorboard_writer(folder: Path):
    """nnabla-nas's SummaryWriter; None, with one warning logged, where it cannot serve."""
    try:
        str(folder).encode()  # TensorBoard's file names are text
        with warnings.catch_warnings():
            # nnabla.utils.profiler, imported on the way, warns when it is compiled.
            warnings.simplefilter("ignore")
            from nnabla_nas.utils.tensorboard import SummaryWriter
    except UnicodeEncodeError:
        logger.warning(f"no TensorBoard events in {str(folder)!r}, a name that is not UTF-8")
        return None
    except (ImportError, TypeError) as error:  # TypeError: a protobuf that its messages do not fit
        logger.warning(f"no TensorBoard events ({error}): pip install nnabla-nas tensorboard")
        return None
    return SummaryWriter(str(folder))
