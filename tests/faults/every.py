"""All faults, by section of docs/faults.md."""

from __future__ import annotations

from tests.faults import files, system
from tests.faults.fault import Fault

SECTIONS: dict[str, tuple[Fault, ...]] = {
    "Recipes": files.RECIPES,
    "Calibration files": files.CALIBRATIONS,
    "Files of arrays": files.ARRAYS,
    "Folders of images": files.IMAGES,
    "Functions that give samples": files.FUNCTIONS,
    "A bad sample after good ones": files.SAMPLES,
    "Disks, folders and pipes": system.STORAGE,
    "Interrupts": system.INTERRUPTS,
    "The child process": system.CHILDREN,
    "Numbers": system.NUMBERS,
    "Names of files": system.NAMES,
}
FAULTS = tuple(fault for section in SECTIONS.values() for fault in section)
