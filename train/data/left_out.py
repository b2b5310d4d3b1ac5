"""What a run trains on, and what it leaves out of the folder or of a file, and why: shown before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starcast.errors import printable
from starcast.images import heif
from starcast.images.formats import HOLDS_SEVERAL_SUFFIXES, has_image_suffix
from starcast.images.read import holds_several
from starcast.train.creatures.files import set_files
from starcast.train.data.folders import DataSet, Domain, images_below, is_image, is_made_by_system

MOST_DOMAINS = 20  # named in one line


def describe_data_set(data_set: DataSet) -> list[str]:
    """A line with each domain's or attribute's images, a line for each kind of entry that is left out, and one for each
    domain with files of several images.

    For the latter, files that may be animated or have pages are opened, but not decoded.
    """
    listed = data_set.listed.describe() if data_set.listed is not None else []
    return [*listed, *_describe_domains(data_set)] if data_set.domains else listed


def _describe_domains(data_set: DataSet) -> list[str]:
    domains = data_set.domains
    if not data_set.has_domains:
        return [", ".join(_images_of(domain) for domain in domains), *list_left_out(data_set)]
    named = [f"{printable(domain.name)} ({_images_of(domain)})" for domain in domains[:MOST_DOMAINS]]
    more = f" and {len(domains) - MOST_DOMAINS} more" if len(domains) > MOST_DOMAINS else ""
    count = "1 domain" if len(domains) == 1 else f"{len(domains)} domains"
    return [f"{count}: {', '.join(named)}{more}", *list_left_out(data_set), *_list_several(domains)]


def list_left_out(data_set: DataSet) -> list[str]:
    """A sentence for each kind of entry that no domain uses."""
    name = data_set.path.resolve().name or str(data_set.path)
    ours = set_files(data_set.path)  # its video and its facts are no images that somebody misses
    unused = [path for path in data_set.unused if ours is None or not ours.holds(path)]
    lines = list(_lines_about(name, unused, "into the folder of a domain"))
    for domain in data_set.domains:
        lines += _lines_about(domain.name, domain.unused, f"into {domain.name} itself")
    return lines


def _list_several(domains: Iterable[Domain]) -> Iterator[str]:
    with ThreadPoolExecutor() as pool:  # a data set may lie on a server, where opening takes long
        for domain in domains:
            images = [*domain.training, *domain.held_out]
            likely = [image for image in images if image.suffix.lower() in HOLDS_SEVERAL_SUFFIXES]
            several = [
                image for image, is_several in zip(likely, pool.map(holds_several, likely), strict=True) if is_several
            ]
            if several:
                which = "its first image" if len(several) == 1 else "the first image of each"
                yield printable(
                    f"{domain.name}: {_count(several, 'file holds', 'files hold')} several frames or pages "
                    f"({_such_as(several)}), and only {which} is used"
                )


def _images_of(domain: Domain) -> str:
    count = f"{len(domain.training)} image{'' if len(domain.training) == 1 else 's'}"
    return f"{count}, {len(domain.held_out)} more held out" if domain.held_out else count


def _lines_about(name: str, unused: Sequence[Path], where: str) -> Iterator[str]:
    foreign = [path for path in unused if is_made_by_system(path)]
    system_made = set(foreign)
    folders = {path: images_below(path) for path in unused if path not in system_made and path.is_dir()}
    unread = [path for path in unused if has_image_suffix(path.suffix) and not path.is_dir() and not is_image(path)]
    loose = [path for path in unused if is_image(path)]
    nested = {path: images for path, images in folders.items() if images}
    named = {*foreign, *nested, *unread, *loose}
    others = [path for path in unused if path not in named]
    if loose:
        yield printable(f"{name}: {_count(loose, 'image is', 'images are')} not used: move {_them(loose)} {where}")
    if nested:
        images = [image for inside in nested.values() for image in inside]
        yield printable(
            f"{name}: {_count(images, 'image', 'images')} in subfolders ({_such_as(nested)}) "
            f"{'is' if len(images) == 1 else 'are'} not used: move {_them(images)} {where}"
        )
    if unread:
        yield printable(
            f"{name}: {_count(unread, 'image is', 'images are')} not used, such as {unread[0].name}, because the "
            f"format cannot be read: save {_them(unread)} as PNG or JPEG{_or_install(unread)}"
        )
    if foreign:
        made = f"which {'a system or a program' if len(foreign) == 1 else 'systems and programs'} made"
        yield printable(f"{name}: {_such_as(foreign)} {'is' if len(foreign) == 1 else 'are'} not used, {made}")
    if others:
        yield printable(f"{name}: {_count(others, 'entry is', 'entries are')} not used, such as {others[0].name}")


def _or_install(unread: Iterable[Path]) -> str:
    return f", or {heif.INSTALL} for HEIC" if any(path.suffix.lower() in heif.SUFFIXES for path in unread) else ""


def _count(paths: Sequence[Path], one: str, many: str) -> str:
    return f"1 {one}" if len(paths) == 1 else f"{len(paths)} {many}"


def _them(paths: Sequence[Path]) -> str:
    return "it" if len(paths) == 1 else "them"


def _such_as(paths: Iterable[Path]) -> str:
    names = [path.name for path in paths]
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
