"""TotalSegmentator's side of the engine: what a task needs, and its label maps.

python run_totalsegmentator.py JOB.json
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # its own folder alone, never the working one
from speech import run, say

RELEASES = "https://github.com/wasserth/TotalSegmentator/releases/download"
CROP_MODELS = {"ct": 298, "ct robust": 297, "mr": 852, "body": 300}


def main(job):
    """Do what the job says: ask, or predict."""
    return {"ask": asked, "predict": predicted}[job["do"]](job)


def asked(job):
    """What a task of TotalSegmentator finds, and where its weights belong."""
    from totalsegmentator.config import get_totalseg_dir, get_weights_dir, has_valid_license_offline
    from totalsegmentator.map_tasks_config import DEFAULT_CONFIG, TASK_CONFIGS
    from totalsegmentator.registry import TASKS, get_task_classes, requires_license

    task = job["task"]
    if task not in TASK_CONFIGS:
        return {"tasks": [name for name in TASKS if name in TASK_CONFIGS]}
    own, mode = TASK_CONFIGS[task], "fast" if job["fast"] else "default"
    modes = own.get("sub_modes", {})
    if job["fast"] and "fast" not in modes:
        return {
            "with_fast": [n for n, t in TASK_CONFIGS.items() if "fast" in t.get("sub_modes", ())]
        }
    rules = {**DEFAULT_CONFIG, **own, **modes.get(mode, {})}
    numbers = rules["task_id"] if isinstance(rules["task_id"], list) else [rules["task_id"]]
    return {
        "classes": {str(number): name for number, name in get_task_classes(task).items()},
        "licensed": requires_license(task) or bool(rules["commercial"]),
        "licence": has_valid_license_offline()[0],
        "home": str(get_totalseg_dir()),
        "spacing": rules["resample"] if isinstance(rules["resample"], (int, float)) else None,
        "parts": [part(number, get_weights_dir(), rules) for number in numbers],
        "crop": [part(number, get_weights_dir(), {}) for number in cropping(task, rules)],
    }


def part(number, home, rules):
    """One model: its folder, where it is downloaded from, and the classes it finds."""
    from totalsegmentator import map_to_binary
    from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS

    known = TASK_ID_WEIGHTS_CONFIGS[number]
    folder = home / known.get("rel_path", "") / known["foldername"]
    url = f"{RELEASES}/{known['version']}/{known['foldername']}.zip" if known.get("version") else ""
    names = {}
    for table in ("ct", "ct_v3", "mr"):
        name = getattr(map_to_binary, f"map_taskid_to_partname_{table}", {}).get(number)
        maps = {"ct": "class_map_5_parts", "ct_v3": "class_map_5_parts_total_v3"}
        names = getattr(map_to_binary, maps.get(table, "class_map_parts_mr"), {}).get(name) or names
    return {
        "folder": str(folder),
        "url": url,
        "here": folder.is_dir(),
        "trainer": rules.get("trainer", ""),
        "configuration": rules.get("model", "3d_fullres"),
        "classes": {str(number): name for number, name in names.items()},
    }


def cropping(task, rules):
    """The numbers of the models that a task finds its place with."""
    if rules["crop_model"] or not (rules["crop"] or rules["cascade"]):
        return []
    if rules["crop"] and {"body_trunc", "body_extremities"} & set(rules["crop"]):
        return [CROP_MODELS["body"]]
    if task.endswith("_mr") or rules["modality"] == "mr":
        return [CROP_MODELS["mr"]]
    return [CROP_MODELS["ct robust" if rules["robust_crop"] else "ct"]]


def predicted(job):
    """Write a label map a scan; which failed and why, and the seconds a scan."""
    import nibabel
    from totalsegmentator import python_api

    python_api.send_usage_stats = lambda *_: None  # nobody was asked
    out, failed, begun = Path(job["predictions"]), {}, time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    for number, (name, files) in enumerate(job["cases"].items()):
        say("segmenting", number / len(job["cases"]), f"{number}/{len(job['cases'])}")
        try:
            found = python_api.totalsegmentator(
                files[0], None, ml=True, task=job["task"], device=device_of(job["device"]),
                fast=job["fast"],
                quiet=True, nr_thr_resamp=1, nr_thr_saving=1,
            )  # fmt: skip
            nibabel.save(found, out / f"{name}.nii.gz")
        except (Exception, SystemExit) as error:  # one bad scan does not cost the others
            failed[name] = f"{type(error).__name__}: {error}"
    seconds = (time.monotonic() - begun) / max(len(job["cases"]), 1)
    return {"failed": failed, "seconds_a_case": seconds}


def device_of(name):
    """TotalSegmentator's name of a device."""
    return {"auto": "gpu", "cuda": "gpu"}.get(name, name)


if __name__ == "__main__":
    run(main)
