"""The commands that do by hand what the demo did."""

from __future__ import annotations

import shlex
from pathlib import Path

from starcast.options import as_json, flag_of
from starcast.train.options import TrainOptions


def commands_by_hand(out: Path, options: TrainOptions) -> str:
    """A command a line."""
    defaults, chosen = as_json(type(options)()), as_json(options)
    flags = [f"{flag_of(name)} {value}" for name, value in chosen.items() if value != defaults[name]]
    where = {name: shlex.quote(str(out / name)) for name in ("data", "run", "bundle", "translations")}
    return "\n".join(
        [
            f"starcast dataset make {where['data']} --seed {options.course.seed}",
            f"starcast train {where['data']} -o {where['run']} " + " ".join(flags),
            f"starcast export {where['run']}/checkpoints/step-{options.course.steps:06d}.pt -o {where['bundle']}",
            f"starcast translate {where['bundle']} {where['data']}/*/val -o {where['translations']} --domain all",
            f"starcast video {where['bundle']} {where['data']}/creature.mp4 -o creature.mp4 --domain spotted --seed 1",
        ]
    )
