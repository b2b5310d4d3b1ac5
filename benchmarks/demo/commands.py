"""The commands that do by hand what the demo did."""

from __future__ import annotations

import shlex
from pathlib import Path

from starcast.options import as_json, flag_of, flat_fields
from starcast.train.options import TrainOptions


def commands_by_hand(out: Path, options: TrainOptions) -> str:
    """One command per line."""
    defaults, chosen = as_json(type(options)()), as_json(options)
    flag = {field.name: flag_of(field) for field, _ in flat_fields(type(options))}
    flags = [f"{flag[name]} {value}" for name, value in chosen.items() if value != defaults[name]]
    where = {name: shlex.quote(str(out / name)) for name in ("data", "run", "bundle", "translations")}
    return "\n".join(
        [
            f"starcast dataset make -o {where['data']} --seed {options.course.seed}",
            f"starcast train {where['data']} -o {where['run']} " + " ".join(flags),
            f"starcast export {where['run']}/checkpoints/step-{options.course.steps:06d}.pt -o {where['bundle']}",
            f"starcast translate {where['bundle']} {where['data']}/*/val -o {where['translations']} --domain all",
            f"starcast video {where['bundle']} {where['data']}/creature.mp4 -o creature.mp4 --domain spotted --seed 1",
        ]
    )
