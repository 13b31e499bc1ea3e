"""Sound scenes with known onsets and classes, from elementary acoustics.

``sources`` renders dry sounds, ``draws`` their parameters, ``room`` adds noise and reverberation, ``scenes``
mixes, ``files`` writes data sets.
Results on them are always labelled as simulated.
"""

from tessera.audio.simulate.dataset import simulate_sound_scenes
from tessera.audio.simulate.draws import SOURCES
from tessera.audio.simulate.files import SceneRecord, scene_number, write_scenes
from tessera.audio.simulate.scenes import Event, Scene, SceneConfig, simulate_scene

__all__ = [
    "SOURCES",
    "Event",
    "Scene",
    "SceneConfig",
    "SceneRecord",
    "scene_number",
    "simulate_scene",
    "simulate_sound_scenes",
    "write_scenes",
]
