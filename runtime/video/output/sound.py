"""Sound that is encoded again: each channel in its place, gaps filled with silence, changes midway followed.

Positions are whole samples of the output, counted, never added up from rounded times: the source's times only say where
a gap is. A container that counts samples instead of storing times (MOV) would otherwise close the gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from av import AudioLayout, AudioResampler
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from numpy.typing import NDArray

from starcast.runtime.video.output import channels
from starcast.runtime.video.timing import as_fraction

_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_OPUS_RATE = 48_000
_BITS_A_CHANNEL = 96_000
_LOSSLESS = ("flac", "pcm_s24le")  # 24 bits, in samples of 32
TITLES = {"aac": "AAC", "libopus": "Opus", "flac": "FLAC", "pcm_s24le": "PCM"}
# Times are rounded to a millisecond in many containers, so smaller steps are no gap. They may add up, in a recording
# whose clock ran fast: that is corrected once it would be noticed.
_GAP_S, _NOTICED_S = Fraction(1, 100), Fraction(1, 10)
# Joined files overlap by a frame or two, and sound that is late by less than this is accepted (ITU-R BT.1359). More is
# left out, but only where the times step back: times that merely run slow lose no sound.
_LATE_S, _BACK_S = Fraction(185, 1000), Fraction(1, 25)
_SILENCE = 48_000  # samples at a time


def sound_codec(container: str, video_codec: str) -> str:
    """FFmpeg's encoder for sound that a container does not take as it is: lossless beside frames that are, or are made
    for editing."""
    if container == "webm":
        return "libopus"
    if video_codec == "prores" and container == "mov":
        return "pcm_s24le"
    return "flac" if video_codec in ("ffv1", "prores") else "aac"


class EncodedTrack:
    """A stream of `container` by the encoder `codec`, with the rate and the channels of the template's stream as far as
    the codec has them."""

    def __init__(self, container: OutputContainer, template: Stream, start_s: Fraction, codec: str = "aac") -> None:
        context: Any = template.codec_context
        self.storage = channels.store(context.layout, codec)
        self._layout = AudioLayout(self.storage.layout)
        self._rate = _OPUS_RATE if codec == "libopus" else _nearest_rate(context.sample_rate or 48000)
        stream: Any = container.add_stream(codec, rate=self._rate)
        self.stream = stream
        stream.layout = self.storage.layout
        if codec in _LOSSLESS:
            stream.format = "s32"
        else:
            stream.bit_rate = _BITS_A_CHANNEL * self._layout.nb_channels
        self._start_s = start_s
        self._planned = context.layout.name
        self._format: tuple[str, str, int] | None = None  # format, layout and rate of what came last
        self._resampler: AudioResampler | None = None  # replaced after a gap, and where the format changes
        self._mix: NDArray[np.float32] | None = None  # None: the channels are in their places
        self._written: int | None = None  # the sample that is written next
        self._stamped_end = 0  # the sample at which the source's times say that the last sound ended
        self._begin = 0  # the sample at which the first one given to the resampler belongs
        self._taken = 0  # samples that the resampler has been given
        self._skip = 0  # samples to leave out
        self._overlap = 0  # samples left out so far
        self._mixed_from: list[str] = []
        self._is_trimmed = False
        self._last: int | None = None  # the sample at which a trimmed film ends

    def write(self, item: Packet[Any] | AudioFrame) -> list[Packet[Any]]:
        """Packets that are ready after a decoded frame."""
        assert isinstance(item, AudioFrame)
        packets: list[Packet[Any]] = []
        if self._format != (item.format.name, item.layout.name, item.sample_rate):
            packets += self._drain()
            self._follow_format(item)
        packets += self._follow_time(item)
        if self._resampler is None:
            self._resampler = AudioResampler(format="flt", layout=item.layout, rate=self._rate)
            self._begin, self._taken = (self._written or 0) - self._skip, 0
        self._taken += item.samples
        return packets + self._encode(self._resampler.resample(item))

    def trim(self, lasts_s: Fraction | None) -> None:
        """Leave out samples before 0 or, if given, from `lasts_s` seconds on."""
        self._is_trimmed = True
        self._last = None if lasts_s is None else round(lasts_s * self._rate)

    def flush(self) -> list[Packet[Any]]:
        """The last packets."""
        packets: list[Packet[Any]] = [*self._drain(), *self.stream.encode(None)]
        return packets

    def notes(self) -> list[str]:
        """What became known only during encoding, as clauses about the track."""
        clauses = []
        if self._mixed_from:
            layouts = " and to ".join(self._mixed_from)
            clauses.append(f"changes to {layouts} midway: mixed into {self.storage.layout} from there on")
        if self._overlap:
            seconds = self._overlap / self._rate
            clauses.append(f"has {seconds:.2f} s of sound that overlaps the sound before it: the overlap is left out")
        return clauses

    def _follow_format(self, item: AudioFrame) -> None:
        self._format = (item.format.name, item.layout.name, item.sample_rate)
        mix = channels.matrix(item.layout, self._layout)
        self._mix = None if np.array_equal(mix, np.eye(len(mix))) else mix
        mixed = channels.is_mixed(item.layout, self._layout) and item.layout.name != self._planned
        if mixed and item.layout.name not in self._mixed_from:
            self._mixed_from.append(item.layout.name)

    def _follow_time(self, item: AudioFrame) -> list[Packet[Any]]:
        """Fill the gap before `item`, or skip what overlaps. The written sound is `early` by as much as it lacks."""
        base = as_fraction(item.time_base)
        if item.pts is None or not base:
            return []
        place = round((item.pts * base - self._start_s) * self._rate)
        if self._written is None:
            self._written = self._stamped_end = place
        step = Fraction(place - self._stamped_end, self._rate)
        early = Fraction(place - self._next_sample(item.sample_rate), self._rate)
        self._stamped_end = place + round(Fraction(item.samples * self._rate, item.sample_rate))
        packets: list[Packet[Any]] = []
        if early > _NOTICED_S or (early > _GAP_S and step > _GAP_S):
            packets = [*self._drain(), *self._fill(place)]
            self._skip = 0
        elif early < -_LATE_S and step < -_BACK_S:
            packets = self._drain()
            self._skip = (self._written or 0) - place
        return packets

    def _next_sample(self, rate: int) -> int:
        """Where sound of this rate goes that follows without a gap."""
        if self._resampler is None:
            return (self._written or 0) - self._skip
        return self._begin + round(Fraction(self._taken * self._rate, rate))

    def _drain(self) -> list[Packet[Any]]:
        """Packets of what the resampler still holds; the next sound gets a new one."""
        if self._resampler is None:
            return []
        frames = self._resampler.resample(None)
        self._resampler = None
        return self._encode(frames)

    def _fill(self, end: int) -> list[Packet[Any]]:
        """Silence up to the sample `end`."""
        packets = []
        while (missing := end - (self._written or 0)) > 0:
            packets += self._append(np.zeros((min(missing, _SILENCE), self._layout.nb_channels), np.float32))
        return packets

    def _encode(self, frames: Iterable[AudioFrame]) -> list[Packet[Any]]:
        packets = []
        for frame in frames:
            samples = frame.to_ndarray().astype(np.float32, copy=False).reshape(-1, frame.layout.nb_channels)
            skipped = min(self._skip, len(samples))
            self._skip, self._overlap = self._skip - skipped, self._overlap + skipped
            samples = samples[skipped:]
            packets += self._append(samples if self._mix is None else samples @ self._mix.T)
        return packets

    def _append(self, samples: NDArray[np.float32]) -> list[Packet[Any]]:
        """Packets after float32 samples [n, channels], which go where the last ones ended."""
        samples = self._within(samples) if self._is_trimmed else samples
        if not len(samples):
            return []
        # packed: PyAV 18 reads past the planes of sound with eight channels
        packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
        frame = AudioFrame.from_ndarray(packed, format="flt", layout=self.storage.layout)
        self._written = self._written or 0
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._written, Fraction(1, self._rate)
        self._written += len(samples)
        packets: list[Packet[Any]] = self.stream.encode(frame)
        return packets

    def _within(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """What of the next samples lies in the trimmed film; the others count as written."""
        begin = self._written or 0
        first = min(max(0, -begin), len(samples))
        last = len(samples) if self._last is None else max(first, min(len(samples), self._last - begin))
        self._written = begin + first if last > first else begin + len(samples)
        return samples[first:last]


def _nearest_rate(rate: int) -> int:
    """The lowest rate that loses nothing."""
    return next((other for other in _RATES if other >= rate), _RATES[-1])
