"""Codes of languages: Matroska stores `de` or `en-US`, MP4 only `deu`, MOV only `ger`."""

from __future__ import annotations

# ISO 639-1, and ISO 639-2 in its terminological form
_TWO_AND_THREE = """
af:afr sq:sqi am:amh ar:ara hy:hye az:aze eu:eus be:bel bn:ben bs:bos bg:bul my:mya ca:cat zh:zho hr:hrv cs:ces da:dan
nl:nld en:eng eo:epo et:est fo:fao fi:fin fr:fra gl:glg ka:kat de:deu el:ell gu:guj he:heb hi:hin hu:hun is:isl id:ind
ga:gle it:ita ja:jpn jv:jav kn:kan kk:kaz km:khm ko:kor ku:kur ky:kir lo:lao la:lat lv:lav lt:lit lb:ltz mk:mkd ms:msa
ml:mal mt:mlt mi:mri mr:mar mn:mon ne:nep no:nor nb:nob nn:nno or:ori ps:pus fa:fas pl:pol pt:por pa:pan ro:ron ru:rus
sa:san sr:srp sd:snd si:sin sk:slk sl:slv so:som es:spa sw:swa sv:swe tl:tgl tg:tgk ta:tam tt:tat te:tel th:tha bo:bod
ti:tir tr:tur tk:tuk uk:ukr ur:urd ug:uig uz:uzb vi:vie cy:cym xh:xho yi:yid yo:yor zu:zul
"""
# its terminological and its bibliographic form, where they differ
_TWO_FORMS = """
sqi:alb hye:arm eus:baq mya:bur zho:chi ces:cze nld:dut fra:fre kat:geo deu:ger ell:gre isl:ice mkd:mac mri:mao msa:may
fas:per ron:rum slk:slo bod:tib cym:wel
"""


def _pairs(table: str) -> dict[str, str]:
    return {pair[:-4]: pair[-3:] for pair in table.split()}


_THREE_LETTERS = _pairs(_TWO_AND_THREE)
_BIBLIOGRAPHIC = _pairs(_TWO_FORMS)
_TERMINOLOGICAL = {other: code for code, other in _BIBLIOGRAPHIC.items()}


def codes_for(language: str) -> list[str]:
    """The code itself, then others for the same language, three letters long."""
    base = language.replace("_", "-").partition("-")[0].lower()
    base = _THREE_LETTERS.get(base, base)
    base = _TERMINOLOGICAL.get(base, base)
    codes = [language, base, *([_BIBLIOGRAPHIC[base]] if base in _BIBLIOGRAPHIC else [])]
    return list(dict.fromkeys(codes))
