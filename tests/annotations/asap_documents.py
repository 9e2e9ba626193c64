"""Any document that looks like ASAP's: the strategy behind the laws of reading and saving."""

from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from hypothesis import strategies as st

TEXT = st.text("abc _0ÄłЖ😀\"'<>&=/\t\n", max_size=6)
NUMBERS = st.one_of(
    st.floats(-1e6, 1e6, allow_nan=False).map(repr),
    st.integers(-100, 250_000).map(str),
    st.floats(0, 2e5).map(lambda value: f"{value:g}"),
    st.floats(0, 2e5).map(lambda value: f"{value:.9g}"),
    st.floats(0, 2e5).map(lambda value: f"{value:.4f}"),
    st.floats(0, 2e5).map(lambda value: f"+{value:.3e}"),
)
BROKEN_NUMBERS = st.sampled_from(["", "nan", "1,5", "abc", "1e400", "-inf", "1e12"])
GROUPS = ["_0", "_1", "_2", "Tumor", "Exclusion", "metastases", "normal", "Ähnliches & <mehr>"]
TYPES = ["Polygon", "Spline", "Rectangle", "Dot", "PointSet", "Measurement", "None", "Blob"]


@dataclass(frozen=True)
class Document:
    """A document in pieces: what stands before, between and after its annotations."""

    pieces: tuple[str, ...]
    elements: tuple[str, ...]
    encoding: str
    regular: tuple[bool, ...]

    @property
    def raw(self) -> bytes:
        text = self.pieces[0]
        for element, piece in zip(self.elements, self.pieces[1:], strict=True):
            text += element + piece
        return text.encode(self.encoding)

    def around(self, number: int) -> tuple[bytes, bytes]:
        """The bytes before and after one annotation."""
        whole = self.raw
        before = self.pieces[0]
        for k in range(number):
            before += self.elements[k] + self.pieces[k + 1]
        start = len(before.encode(self.encoding))
        end = len((before + self.elements[number]).encode(self.encoding))
        return whole[:start], whole[end:]


@st.composite
def documents(draw, *, min_annotations=0, broken=True):
    newline = draw(st.sampled_from(["\n", "\r\n", ""]))
    tab = draw(st.sampled_from(["\t", "  ", ""]))
    slash = draw(st.sampled_from([" />", "/>"]))
    encoding, declared = draw(
        st.sampled_from(
            [("utf-8", ""), ("utf-8", "UTF-8"), ("utf-8-sig", "utf-8"), ("utf-16", "UTF-16")]
        )
    )
    quote = draw(st.sampled_from(["'", '"']))

    def indent(depth):
        return newline + tab * depth if newline else ""

    def attribute(name, value):
        quoted = quoteattr(value, {"\n": "&#10;", "\t": "&#9;"})
        if quote == "'" and quoted[0] == '"' and "'" not in quoted:
            quoted = f"'{quoted[1:-1]}'"
        return f" {name}={quoted}"

    def noise(depth):
        return draw(
            st.sampled_from(
                [
                    "",
                    "",
                    "",
                    f"{indent(depth)}<!-- <Annotation Name='x'> -->",
                    indent(depth) + "<X/>",
                ]
            )
        )

    def element(depth):
        count = draw(st.integers(0, 6))
        orders = [str(k) for k in range(count)]
        if broken and draw(st.integers(0, 5)) == 0:
            orders = draw(
                st.lists(
                    st.sampled_from(["0", "1", "2", "7", "x", ""]), min_size=count, max_size=count
                )
            )
        number = st.one_of(NUMBERS, BROKEN_NUMBERS) if broken and draw(st.booleans()) else NUMBERS
        attributes = [
            attribute("Name", draw(TEXT)),
            attribute("Type", draw(st.sampled_from(TYPES))),
            attribute("PartOfGroup", draw(st.sampled_from([*GROUPS, "None"]))),
            attribute("Color", draw(st.sampled_from(["#F4FA58", "#00aa00"]))),
        ]
        attributes += [attribute("Mood", draw(TEXT))] if draw(st.booleans()) else []
        text = "<Annotation" + "".join(draw(st.permutations(attributes)))
        if count == 0 and draw(st.booleans()):
            return text + slash, True
        text += ">" + noise(depth + 1)
        lines = []
        for order in orders:
            parts = [
                attribute("Order", order),
                attribute("X", draw(number)),
                attribute("Y", draw(number)),
            ]
            parts += [attribute("Z", "0>")] if draw(st.integers(0, 5)) == 0 else []
            end = draw(st.sampled_from([slash, slash, "></Coordinate>"]))
            lines.append(f"{indent(depth + 2)}<Coordinate{''.join(parts)}{end}")
        text += f"{indent(depth + 1)}<Coordinates>{''.join(lines)}{indent(depth + 1)}</Coordinates>"
        return f"{text}{indent(depth)}</Annotation>", orders == [str(k) for k in range(count)]

    declaration = f' encoding="{declared}"' if declared else ""
    found = [element(2) for _ in range(draw(st.integers(min_annotations, 5)))]
    head = f'<?xml version="1.0"{declaration}?>{newline}<ASAP_Annotations>{noise(1)}'
    head += f"{indent(1)}<Annotations>"
    tail = f"{indent(1)}</Annotations>{indent(1)}<AnnotationGroups>"
    for name in GROUPS:
        inner = draw(
            st.sampled_from([f"<Attributes{slash}", "<Attributes><Attribute a='b'/></Attributes>"])
        )
        tail += (
            f"{indent(2)}<Group{attribute('Name', name)}{attribute('PartOfGroup', 'None')}"
            f"{attribute('Color', '#64FE2E')}>{inner}</Group>"
        )
    tail += f"{indent(1)}</AnnotationGroups>{noise(1)}{newline}</ASAP_Annotations>{newline}"
    between = [indent(2) + noise(2).strip() for _ in found]
    if not found:
        return Document((head + tail,), (), encoding, ())
    pieces = (head + between[0], *between[1:], tail)
    return Document(pieces, tuple(e for e, _ in found), encoding, tuple(r for _, r in found))
