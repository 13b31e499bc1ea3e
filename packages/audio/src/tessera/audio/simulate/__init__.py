"""Sound scenes with known onsets and classes, from elementary acoustics.

``sources`` renders dry sounds, ``draws`` their parameters, ``room`` adds noise and reverberation, ``scenes``
mixes, ``files`` writes data sets. ``responses`` makes impulse responses of rooms, ``reverberant`` data sets
of dry sounds (``dry``) through them, ``voices`` speakers.
Results on them are always labelled as simulated.
"""

from tessera.audio.simulate.dataset import simulate_sound_scenes
from tessera.audio.simulate.draws import SOURCES
from tessera.audio.simulate.files import SceneRecord, scene_number, write_scenes
from tessera.audio.simulate.reverberant import ReverberantConfig, simulate_reverberant_sounds
from tessera.audio.simulate.scenes import Event, Scene, SceneConfig, simulate_scene
from tessera.audio.simulate.voices import VoiceConfig, simulate_voices

__all__ = [
    "SOURCES",
    "Event",
    "ReverberantConfig",
    "Scene",
    "SceneConfig",
    "SceneRecord",
    "VoiceConfig",
    "scene_number",
    "simulate_reverberant_sounds",
    "simulate_scene",
    "simulate_sound_scenes",
    "simulate_voices",
    "write_scenes",
]
