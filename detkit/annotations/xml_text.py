"""XML read and written: encodings of any name, no document types, one-line errors."""

from __future__ import annotations

import re
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from detkit.errors import InputError

# XML 1.0 has no way to write these characters, not even as references.
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")


def parse_xml(where: object, data: bytes) -> Element:
    """The root of an XML document. InputError with the line where it is broken.

    A document type (DTD) is refused before it is read: VOC has none, and entities that expand into each other
    or name files of this machine are declared in one.
    """
    text = _decoded(where, data)
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8")  # in place of what the document declares
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{where}: has a document type (<!DOCTYPE ...>), which is not read for safety; remove it")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise InputError(f"{where}: is not valid XML at line {error.lineno}, column {error.offset}: {what}") from error
    return builder.close()


def _decoded(where: object, data: bytes) -> bytes:
    """The document as UTF-8: Python knows more encodings than expat, and their names in more spellings."""
    declared = _ENCODING.match(data)
    name = declared.group(1).decode("ascii") if declared else "utf-8"
    if name.lower().replace("-", "").replace("_", "").startswith(("utf8", "utf16", "utf32", "ucs")):
        name = "utf-8"  # wide characters were made UTF-8 when the file was read
    try:
        return data.decode({"gb2312": "gb18030", "gbk": "gb18030"}.get(name.lower(), name)).encode("utf-8")
    except LookupError as error:
        raise InputError(f"{where}: is XML in an encoding that is not known, '{name}'; save it as UTF-8") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{where}: line {line} is not {name} text, as the file says; save it as UTF-8") from error


def xml_text(value: str) -> str:
    """`value` as the text of an element, or with quotes around it as an attribute."""
    text = NOT_IN_XML.sub("\ufffd", value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def xml_attribute(value: object) -> str:
    """`value` as an attribute in quotes; white space that is no blank is kept."""
    text = xml_text(str(value)).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return f'"{text}"'
