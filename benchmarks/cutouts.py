"""Cut-outs of one mosaic on one CPU thread: the reader of catalogues beside loops over astropy's Cutout2D.

The loops open the mosaic each time. One is given positions on the sky, as a catalogue has them, and reads the
WCS; the other is given pixels, so that it has less to do than we. Outputs must be equal before anything is
timed. Ours makes all cut-outs; the loops make ``--peer`` of them, and their time a cut-out is compared.

Run: python benchmarks/cutouts.py [--cutouts 100000] [--peer 2000] [--side 16384] [--size 256] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before numpy loads

import numpy as np
import psutil
import torch
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from machine import Record, show
from numpy.typing import NDArray

from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.readers import SkyReader
from tessera.core.data.case import Case

COMPARED = 20  # cut-outs that must be equal
LEAST_TIMES = 3.0  # the requirement
TURNS = 10  # ours and the loops, one after another
WARM = 1000  # cut-outs after which memory must no longer grow
MOST_GROWTH_MIB = 100.0  # a mosaic of 1 GiB would show
SCALE_DEG = 0.186 / 3600

Image = NDArray[np.float32]


def write_mosaic(path: Path, side: int) -> None:
    """A square mosaic of noise, written in strips, each pixel different enough to tell."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [side / 2, side / 2]
    wcs.wcs.cdelt = [-SCALE_DEG, SCALE_DEG]
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32), wcs.to_header()).header
    header["NAXIS1"] = header["NAXIS2"] = side
    generator = np.random.default_rng(0)
    stream = fits.StreamingHDU(path, header)
    for start in range(0, side, 256):
        rows = min(256, side - start)
        stream.write(generator.standard_normal((rows, side), dtype=np.float32))
    stream.close()


def write_catalogue(path: Path, mosaic: Path, *, n: int, size: int) -> Table:
    """Random positions whose cut-outs lie on the mosaic."""
    header = fits.getheader(mosaic)
    places = np.random.default_rng(1).uniform(size, header["NAXIS1"] - size, (n, 2))
    sky = WCS(header).all_pix2world(places, 0)
    table = Table({"id": [f"{row:07d}" for row in range(n)], "ra": sky[:, 0], "dec": sky[:, 1]})
    table["column"], table["row"] = places[:, 0], places[:, 1]
    table.write(path, overwrite=True)
    return table


def ours(reader: SkyReader, case: Case) -> Image:
    """As the predictor reads a row."""
    source = reader.open(case)
    values = source.read()["input"]
    source.close()
    return values[0].numpy()


def by_sky(mosaic: Path, row: Table, size: int) -> Image:
    """Cutout2D around a position."""
    with fits.open(mosaic) as file:
        position = SkyCoord(row["ra"], row["dec"], unit=units.deg)
        cut = Cutout2D(file[0].data, position, size, wcs=WCS(file[0].header))
        return np.array(cut.data, dtype=np.float32)


def by_pixel(mosaic: Path, row: Table, size: int) -> Image:
    """Cutout2D around a pixel."""
    with fits.open(mosaic) as file:
        return np.array(Cutout2D(file[0].data, (row["column"], row["row"]), size).data, dtype=np.float32)


def check(reader: SkyReader, cases: Sequence[Case], mosaic: Path, table: Table, *, size: int) -> None:
    """Equal outputs, or the end."""
    for case, row in zip(cases[:COMPARED], table, strict=False):
        found = ours(reader, case)
        for name, peer in (("positions", by_sky), ("pixels", by_pixel)):
            if not np.array_equal(found, peer(mosaic, row, size)):
                sys.exit(f"case {case.id}: the cut-outs differ from those of Cutout2D, {name}")


def seconds(job: Callable[[int], object], numbers: range) -> float:
    """Wall-clock seconds of a job with these numbers."""
    start = time.perf_counter()
    for number in numbers:
        job(number)
    return time.perf_counter() - start


def rss_mib() -> float:
    """Memory of this process that is in use, MiB."""
    return psutil.Process().memory_info().rss / 2**20


def measure(folder: Path, *, cutouts: int, peer: int, side: int, size: int) -> list[Record]:
    """Write the mosaic and the catalogue, compare, then time."""
    torch.set_num_threads(1)
    mosaic, listed = folder / "mosaic.fits", folder / "catalogue.fits"
    write_mosaic(mosaic, side)
    table = write_catalogue(listed, mosaic, n=cutouts, size=size)
    reader = SkyReader(options=SkyInput(images=mosaic, size_px=size))
    start = time.perf_counter()
    cases = reader.find(listed)
    finding_s = time.perf_counter() - start
    check(reader, cases, mosaic, table, size=size)
    for case in cases[:WARM]:
        ours(reader, case)
    before, most = rss_mib(), 0.0
    totals = np.zeros(3)
    peers = min(peer, cutouts)
    for turn in range(TURNS):  # so that a slow minute of the machine meets all
        mine, theirs = (range(n * turn // TURNS, n * (turn + 1) // TURNS) for n in (cutouts, peers))
        totals[0] += seconds(lambda k: ours(reader, cases[k]), mine)
        most = max(most, rss_mib())
        totals[1] += seconds(lambda k: by_sky(mosaic, table[k], size), theirs)
        totals[2] += seconds(lambda k: by_pixel(mosaic, table[k], size), theirs)
    own, sky, pixel = (totals / [cutouts, peers, peers]).tolist()
    growth = max(0.0, most - before)
    return [
        {
            "cut-outs": cutouts,
            "size, pixels": size,
            "mosaic, MiB": mosaic.stat().st_size / 2**20,
            "threads": 1,
            "finding all rows' pixels, s": finding_s,
            "ours, ms a cut-out": 1e3 * own,
            "ours, all cut-outs, s": own * cutouts,
            "cut-outs of the loops": peers,
            "Cutout2D by position, ms": 1e3 * sky,
            "Cutout2D by pixel, ms": 1e3 * pixel,
            "times faster than by position": sky / own,
            "times faster than by pixel": pixel / own,
            "least times": LEAST_TIMES,
            "memory before, MiB": before,
            "memory growth, MiB": growth,
            "fulfilled": str(sky / own >= LEAST_TIMES and growth <= MOST_GROWTH_MIB),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cutouts", type=int, default=100_000)
    parser.add_argument("--peer", type=int, default=2000)
    parser.add_argument("--side", type=int, default=16_384)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tessera-benchmark-") as scratch:
        numbers = {name: getattr(options, name) for name in ("cutouts", "peer", "side", "size")}
        show(measure(Path(scratch), **numbers), as_json=options.json)


if __name__ == "__main__":
    main()
