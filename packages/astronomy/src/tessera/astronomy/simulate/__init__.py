"""Galaxies of a survey with known tidal features, and maps of matter with known cosmological parameters.

``photometry`` converts magnitudes, counts and sizes; ``sersic`` renders galaxies, ``hosts`` draws them with
arms and rings; ``ribbons`` (streams, tails) and ``wedges`` (shells, fans) shape what ``features`` draws
around them; ``field`` adds neighbours and stars, ``psf`` and ``sky`` what telescope and sky do; ``galaxy``
puts all together, ``sky_files`` and ``tidal_dataset`` write it. ``density_fields`` draws maps,
``density_dataset`` writes them. Results on them are always labelled as simulated.
"""

from tessera.astronomy.simulate.density_dataset import (
    DensityMapsConfig,
    numbered_map,
    simulate_density_maps,
)
from tessera.astronomy.simulate.density_fields import density_map
from tessera.astronomy.simulate.galaxy import Galaxy, simulate_galaxy
from tessera.astronomy.simulate.tidal_config import DEPTHS, TidalConfig
from tessera.astronomy.simulate.tidal_dataset import feature_of, simulate_tidal, tidal_galaxy

__all__ = [
    "DEPTHS",
    "DensityMapsConfig",
    "Galaxy",
    "TidalConfig",
    "density_map",
    "feature_of",
    "numbered_map",
    "simulate_density_maps",
    "simulate_galaxy",
    "simulate_tidal",
    "tidal_galaxy",
]
