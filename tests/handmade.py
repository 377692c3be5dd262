"""Small hand-written annotation files in the layouts of the original archives."""

from hypothesis import HealthCheck, settings
from PIL import Image

from datasets import ibug, youtube_faces

few_examples = settings(  # each of them writes one file
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def write_picture(file, width=100, height=80, orientation=1):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "gray").save(file, exif=exif_of(orientation))
    return file


def spread(count):
    """Points as fractions 0.1..0.9, no two alike."""
    return [(0.1 + 0.8 * i / count, 0.9 - 0.8 * (i * 7 % count) / count) for i in range(count)]


def write_asf(folder, stem, fractions=None, columns=7, separator="\t", picture=None, end="\n"):
    """An annotation as the AAM-API writes it; the picture is written unless it is named."""
    fractions = spread(58) if fractions is None else fractions
    if picture is None:
        picture = f"{stem}.jpg"
        write_picture(folder / picture)
    rows = [
        separator.join(["0", "4", str(x), str(y), str(i), "0", "1"] + ["0.00"] * (columns - 7))
        for i, (x, y) in enumerate(fractions)
    ]
    lines = ["#", "# AAM Shape File", "#", "", f"{len(rows)}", "", "# points", *rows, "", "# host"]
    file = folder / f"{stem}.asf"
    file.write_bytes(end.join([*lines, picture, ""]).encode())
    return file


def write_pts(file, points=None, header=True, picture=".jpg"):
    """Points counted from 1, as in 300-W; ``picture`` is the ending of the one beside it."""
    points = [(100 * x, 80 * y) for x, y in spread(68)] if points is None else points
    rows = "\n".join(f"{x} {y}" for x, y in points)
    file.parent.mkdir(parents=True, exist_ok=True)
    head, foot = (f"version: 1\nn_points: {len(points)}\n{{\n", "\n}\n") if header else ("", "\n")
    file.write_text(head + rows + foot)
    if picture:
        write_picture(file.with_suffix(picture))
    return file


def write_list(folder, faces, name="dlib/test"):
    """One of dlib's XML lists: ``faces`` are (picture, (left, top, width, height), parts)."""
    images = []
    for picture, (left, top, width, height), parts in faces:
        marks = "".join(f"<part name='{i:02d}' x='{x}' y='{y}'/>" for i, (x, y) in enumerate(parts))
        images.append(
            f"<image file='{picture}'><box top='{top}' left='{left}' width='{width}' "
            f"height='{height}'>{marks}</box></image>"
        )
    text = f"<?xml version='1.0'?><dataset><images>{''.join(images)}</images></dataset>"
    (folder / ibug.LISTS[name]).write_text(text)


def write_frames(folder, frames, part="training"):
    """A list of the Udacity course: ``frames`` are (name, points or None for the usual ones)."""
    usual = [(round(100 * x), round(80 * y)) for x, y in spread(68)]
    lines = ["," + ",".join(str(i) for i in range(136))]
    for name, points in frames:
        values = [str(float(value)) for point in points or usual for value in point]
        lines.append(",".join([name, *values]))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / youtube_faces.LISTS[part]
    file.write_text("\n".join([*lines, ""]))
    return file
