from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starcast.images.xmp import XmpError, has_more, update_xmp

PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Toolkit">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/"
    xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"
    xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:mine="http://example.org/"
    tiff:Orientation="6" tiff:ImageWidth="6000" exif:ColorSpace="65535" photoshop:ICCProfile="Adobe RGB (1998)"
    hdrgm:Version="1.0" GCamera:MotionPhoto="1" mine:note="a&#xA;b &lt; &quot;c&quot;" exif:UserComment="Grüße">
   <exif:PixelXDimension>6000</exif:PixelXDimension>
   <dc:format>image/jpeg</dc:format>
   <dc:creator><rdf:Seq><rdf:li>Ann &amp; Bo</rdf:li></rdf:Seq></dc:creator>
   <xmp:Thumbnails><rdf:Alt><rdf:li xmpGImg:image="AAAA"/></rdf:Alt></xmp:Thumbnails>
   <Container:Directory><rdf:Seq><rdf:li>x</rdf:li></rdf:Seq></Container:Directory>
   <mine:Orientation>6</mine:Orientation>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
TIFF, EXIF = "{http://ns.adobe.com/tiff/1.0/}", "{http://ns.adobe.com/exif/1.0/}"


def _update(packet: str | bytes) -> str:
    content = packet if isinstance(packet, bytes) else packet.encode()
    return update_xmp(content, size=(256, 128), mime="image/png").decode()


def _description(packet: str) -> ET.Element:
    [description] = ET.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return description


def test_what_it_says_of_its_pixels_is_that_of_the_new_ones():
    description = _description(_update(PACKET))
    assert description.attrib[f"{TIFF}Orientation"] == "1"
    assert description.attrib[f"{TIFF}ImageWidth"] == "128"
    assert description.attrib[f"{EXIF}ColorSpace"] == "1"
    assert description.findtext(f"{EXIF}PixelXDimension") == "128"
    assert description.findtext("{http://purl.org/dc/elements/1.1/}format") == "image/png"


@pytest.mark.parametrize("name", ["ICCProfile", "Thumbnails", "hdrgm:Version", "MotionPhoto", "Directory"])
def test_what_is_not_in_the_file_any_more_is_left_out(name):
    assert name in PACKET
    assert name not in _update(PACKET)


def test_the_rest_stays_as_it_was():
    before, after = _description(PACKET), _description(_update(PACKET))
    assert after.attrib["{http://example.org/}note"] == 'a\nb < "c"' == before.attrib["{http://example.org/}note"]
    assert after.attrib[f"{EXIF}UserComment"] == "Grüße"
    assert after.findtext("{http://example.org/}Orientation") == "6"  # somebody else's
    assert [element.text for element in after.iter() if element.tag.endswith("li")] == ["Ann & Bo"]
    assert re.findall(r"<(\w+:\w+)", _update(PACKET))[:3] == ["x:xmpmeta", "rdf:RDF", "rdf:Description"]
    assert _update(PACKET).startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert _update(PACKET).endswith('<?xpacket end="w"?>')
    assert _update(_update(PACKET)) == _update(PACKET)


def test_other_prefixes_mean_the_same():
    other = PACKET.replace("tiff:", "t2:").replace("xmlns:tiff", "xmlns:t2")
    assert _description(_update(other)).attrib[f"{TIFF}Orientation"] == "1"


def test_a_packet_in_utf_16_is_read():
    inside = PACKET[PACKET.index("<x:") : PACKET.index("<?xpacket end")]
    assert _description(_update(inside.encode("utf-16"))).attrib[f"{TIFF}Orientation"] == "1"


@pytest.mark.parametrize("packet", [
    "", "text", PACKET[:800], "<a><b></a>", "<a>\x01</a>", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    '<!doctype a><a/>', "<a>" * 100_000, '<?xml version="1.0" encoding="klingon"?><a/>', "<a>&b;</a>",
])  # fmt: skip
def test_a_damaged_packet_is_refused(packet):
    with pytest.raises(XmpError):
        _update(packet)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_refused(content):
    with contextlib.suppress(XmpError):
        _update(content)


def test_a_second_part_is_noticed():
    more = PACKET.replace("mine:note", 'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="0A" mine:note')
    assert has_more(more.encode())
    assert "HasExtendedXMP" not in _update(more)
    assert not has_more(PACKET.encode())
