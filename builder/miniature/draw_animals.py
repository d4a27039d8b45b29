"""How the animals of the picture world are drawn: seen from the side, heads to the right."""

from __future__ import annotations

from collections.abc import Sequence

from builder.miniature.pen import Colour, Pen, Point, darker, vary

BLACK: Colour = (28, 26, 30)
WHITE: Colour = (246, 246, 242)
_LEGS = (0.22, 0.32, 0.62, 0.72)


def _legs(pen: Pen, xs: Sequence[float], top: float, width: float, colour: Colour) -> None:
    swing = float(pen.rng.uniform(-0.05, 0.05))
    for index, x in enumerate(xs):
        shift = swing if index % 2 else -swing
        tone = darker(colour, 0.78) if index % 2 else colour
        pen.line([(x, top), (x + shift, 0.97)], width, tone)


def _eye(pen: Pen, x: float, y: float, radius: float = 0.018) -> None:
    pen.disc((x, y), radius * 1.5, WHITE)
    pen.disc((x + radius * 0.4, y), radius, BLACK)


def dog(pen: Pen, colour: Colour) -> None:
    """Draw a dog with hanging ears and a raised tail."""
    pen.line([(0.16, 0.5), (0.06, 0.3), (0.1, 0.2)], 0.06, colour)
    _legs(pen, (0.2, 0.3, 0.58, 0.67), 0.6, 0.085, colour)
    pen.ellipse((0.42, 0.53), (0.29, 0.14), colour)
    pen.line([(0.64, 0.48), (0.74, 0.34)], 0.17, colour)
    pen.disc((0.76, 0.28), 0.125, colour)
    pen.rectangle((0.8, 0.27, 0.97, 0.39), darker(colour, 1.12), 0.05)
    pen.disc((0.95, 0.28), 0.032, BLACK)
    pen.ellipse((0.69, 0.3), (0.05, 0.13), darker(colour, 0.6), 12)
    pen.line([(0.62, 0.43), (0.72, 0.48)], 0.04, (206, 40, 40))
    _eye(pen, 0.82, 0.23)


def cat(pen: Pen, colour: Colour) -> None:
    """Draw a sitting cat with pointed ears, whiskers and stripes."""
    pen.line([(0.3, 0.9), (0.1, 0.86), (0.08, 0.62), (0.16, 0.5)], 0.065, colour)
    pen.ellipse((0.46, 0.7), (0.22, 0.27), colour)
    pen.line([(0.56, 0.6), (0.58, 0.93)], 0.09, darker(colour, 0.85))
    pen.line([(0.42, 0.7), (0.45, 0.93)], 0.09, darker(colour, 0.92))
    for y in (0.55, 0.65, 0.75):
        with pen.inside():
            pen.line([(0.2, y), (0.36, y + 0.03)], 0.03, darker(colour, 0.6))
    pen.polygon([(0.36, 0.34), (0.37, 0.06), (0.54, 0.2)], darker(colour, 0.85))
    pen.polygon([(0.58, 0.2), (0.74, 0.06), (0.75, 0.34)], darker(colour, 0.85))
    pen.ellipse((0.56, 0.33), (0.21, 0.18), colour)
    for x in (0.48, 0.65):
        pen.ellipse((x, 0.31), (0.042, 0.052), (150, 205, 70))
        pen.ellipse((x, 0.31), (0.014, 0.046), BLACK)
    pen.polygon([(0.53, 0.38), (0.6, 0.38), (0.565, 0.42)], (230, 110, 130))
    for y in (0.4, 0.44):
        pen.line([(0.3, y), (0.5, 0.41)], 0.01, darker(WHITE, 0.85))
        pen.line([(0.63, 0.41), (0.84, y)], 0.01, darker(WHITE, 0.85))


def horse(pen: Pen, colour: Colour) -> None:
    """Draw a horse with a long neck, a mane and a full tail."""
    dark = darker(colour, 0.45)
    pen.line([(0.13, 0.46), (0.05, 0.6), (0.07, 0.76)], 0.085, dark)
    _legs(pen, (0.18, 0.26, 0.58, 0.66), 0.55, 0.065, colour)
    for x in (0.18, 0.26, 0.58, 0.66):
        pen.rectangle((x - 0.05, 0.93, x + 0.05, 0.99), BLACK)
    pen.ellipse((0.4, 0.5), (0.29, 0.135), colour)
    pen.polygon([(0.54, 0.5), (0.7, 0.56), (0.83, 0.22), (0.71, 0.14)], colour)
    pen.line([(0.56, 0.42), (0.66, 0.24), (0.74, 0.12)], 0.09, dark)
    pen.ellipse((0.85, 0.24), (0.14, 0.07), colour, 38)
    pen.disc((0.94, 0.31), 0.055, darker(colour, 0.8))
    pen.polygon([(0.73, 0.16), (0.76, 0.03), (0.81, 0.15)], colour)
    _eye(pen, 0.83, 0.19, 0.014)


def cow(pen: Pen, colour: Colour) -> None:
    """Draw a cow: heavy body with dark patches, horns, udder."""
    patch = BLACK if sum(colour) > 330 else WHITE
    pen.line([(0.13, 0.42), (0.07, 0.56), (0.08, 0.68)], 0.03, darker(colour, 0.6))
    _legs(pen, _LEGS, 0.6, 0.08, colour)
    pen.ellipse((0.42, 0.68), (0.09, 0.07), (240, 160, 170))
    pen.rectangle((0.12, 0.34, 0.76, 0.68), colour, 0.12)
    pen.spots((0.14, 0.34, 0.72, 0.66), 6, (0.05, 0.11), patch)
    pen.line([(0.72, 0.44), (0.84, 0.36)], 0.17, colour)
    for x, tip in ((0.79, 0.74), (0.92, 0.98)):
        pen.line([(x, 0.24), (tip, 0.13)], 0.035, (226, 214, 180))
    pen.ellipse((0.86, 0.36), (0.095, 0.13), colour)
    pen.ellipse((0.88, 0.48), (0.1, 0.07), (240, 170, 170))
    pen.ellipse((0.75, 0.28), (0.06, 0.03), darker(colour, 0.7), -20)
    for x in (0.82, 0.91):
        _eye(pen, x, 0.33, 0.015)


def sheep(pen: Pen, colour: Colour) -> None:
    """Draw a sheep: a woolly cloud with a dark face."""
    dark = vary(pen.rng, (58, 50, 48))
    _legs(pen, (0.28, 0.36, 0.58, 0.66), 0.7, 0.055, dark)
    pen.ellipse((0.44, 0.52), (0.29, 0.2), colour)
    pen.curls((0.44, 0.52), (0.28, 0.19), 16, darker(colour, 0.93))
    pen.curls((0.44, 0.5), (0.17, 0.11), 9, darker(colour, 1.03))
    pen.ellipse((0.78, 0.44), (0.1, 0.14), dark, -20)
    pen.ellipse((0.68, 0.4), (0.08, 0.035), dark, -25)
    pen.curls((0.74, 0.32), (0.06, 0.05), 7, darker(colour, 0.97))
    _eye(pen, 0.8, 0.4, 0.016)


def pig(pen: Pen, colour: Colour) -> None:
    """Draw a pig: round, pink, with a disc for a snout and a curl for a tail."""
    pen.arc((0.03, 0.38, 0.16, 0.52), 90, 400, 0.03, darker(colour, 0.8))
    _legs(pen, (0.26, 0.36, 0.58, 0.68), 0.68, 0.1, colour)
    pen.ellipse((0.45, 0.54), (0.33, 0.22), colour)
    pen.disc((0.76, 0.46), 0.17, colour)
    pen.polygon([(0.62, 0.36), (0.65, 0.2), (0.75, 0.31)], darker(colour, 0.8))
    pen.polygon([(0.78, 0.3), (0.88, 0.2), (0.89, 0.37)], darker(colour, 0.8))
    pen.ellipse((0.88, 0.5), (0.08, 0.075), darker(colour, 0.82))
    for x in (0.86, 0.91):
        pen.ellipse((x, 0.5), (0.012, 0.025), darker(colour, 0.4))
    _eye(pen, 0.79, 0.41)


def elephant(pen: Pen, colour: Colour) -> None:
    """Draw an elephant: huge ear, trunk to the ground, tusk."""
    pen.line([(0.1, 0.42), (0.05, 0.62)], 0.025, darker(colour, 0.7))
    _legs(pen, (0.2, 0.32, 0.54, 0.65), 0.62, 0.13, colour)
    pen.ellipse((0.4, 0.44), (0.32, 0.24), colour)
    pen.disc((0.74, 0.36), 0.17, colour)
    trunk = [(0.87, 0.4), (0.93, 0.56), (0.92, 0.76), (0.97, 0.84)]
    pen.line(trunk, 0.085, darker(colour, 0.92))
    pen.line([(0.84, 0.5), (0.9, 0.6), (0.98, 0.6)], 0.04, (250, 246, 226))
    pen.ellipse((0.64, 0.38), (0.13, 0.19), darker(colour, 0.78))
    pen.ellipse((0.65, 0.38), (0.085, 0.14), darker(colour, 0.93))
    _eye(pen, 0.81, 0.31)


def giraffe(pen: Pen, colour: Colour) -> None:
    """Draw a giraffe: long spotted neck and little horns."""
    _legs(pen, (0.3, 0.37, 0.56, 0.63), 0.62, 0.05, colour)
    pen.line([(0.25, 0.58), (0.2, 0.76)], 0.02, darker(colour, 0.5))
    pen.ellipse((0.45, 0.59), (0.22, 0.11), colour)
    pen.polygon([(0.54, 0.6), (0.68, 0.58), (0.78, 0.12), (0.69, 0.1)], colour)
    pen.spots((0.24, 0.14, 0.8, 0.7), 46, (0.018, 0.034), (134, 78, 30))
    pen.ellipse((0.8, 0.12), (0.11, 0.05), colour, 18)
    for x in (0.72, 0.76):
        pen.line([(x, 0.1), (x - 0.01, 0.02)], 0.018, (104, 62, 26))
    pen.ellipse((0.68, 0.1), (0.05, 0.02), darker(colour, 0.8), 20)
    _eye(pen, 0.79, 0.1, 0.011)


def zebra(pen: Pen, colour: Colour) -> None:
    """Draw a zebra: a horse's shape under black stripes."""
    pen.line([(0.13, 0.46), (0.06, 0.62)], 0.03, BLACK)
    _legs(pen, (0.18, 0.26, 0.58, 0.66), 0.55, 0.065, colour)
    pen.ellipse((0.4, 0.5), (0.29, 0.145), colour)
    pen.polygon([(0.54, 0.48), (0.7, 0.56), (0.83, 0.22), (0.7, 0.14)], colour)
    pen.ellipse((0.85, 0.24), (0.14, 0.07), colour, 38)
    with pen.inside():
        for step in range(15):
            x = 0.06 + step * 0.053 + float(pen.rng.uniform(-0.008, 0.008))
            pen.line([(x, 0.3), (x + 0.05, 0.75)], 0.02, BLACK)
        for y in (0.2, 0.28, 0.36, 0.44):
            pen.line([(0.56, y - 0.03), (0.84, y + 0.04)], 0.02, BLACK)
        for y in (0.72, 0.79, 0.86):
            pen.line([(0.1, y), (0.76, y)], 0.018, BLACK)
    pen.line([(0.57, 0.4), (0.66, 0.22), (0.73, 0.1)], 0.05, BLACK)
    pen.disc((0.94, 0.31), 0.05, (60, 56, 58))
    pen.polygon([(0.73, 0.16), (0.76, 0.04), (0.81, 0.15)], colour)
    _eye(pen, 0.84, 0.2, 0.014)


def bear(pen: Pen, colour: Colour) -> None:
    """Draw a bear: massive, round ears, pale snout."""
    _legs(pen, (0.2, 0.33, 0.56, 0.68), 0.66, 0.14, colour)
    pen.ellipse((0.43, 0.52), (0.35, 0.23), colour)
    for x in (0.68, 0.86):
        pen.disc((x, 0.22), 0.065, darker(colour, 0.75))
    pen.disc((0.77, 0.36), 0.17, colour)
    pen.ellipse((0.86, 0.42), (0.1, 0.075), vary(pen.rng, (206, 178, 140)))
    pen.disc((0.93, 0.39), 0.032, BLACK)
    _eye(pen, 0.78, 0.32)


def penguin(pen: Pen, colour: Colour) -> None:
    """Draw a penguin from the front: white belly, orange beak and feet."""
    for x in (0.4, 0.6):
        pen.ellipse((x, 0.95), (0.1, 0.04), (240, 150, 30))
    pen.ellipse((0.25, 0.55), (0.06, 0.22), colour, 18)
    pen.ellipse((0.75, 0.55), (0.06, 0.22), colour, -18)
    pen.ellipse((0.5, 0.58), (0.25, 0.37), colour)
    pen.disc((0.5, 0.22), 0.17, colour)
    pen.ellipse((0.5, 0.64), (0.17, 0.28), WHITE)
    pen.ellipse((0.5, 0.25), (0.11, 0.09), WHITE)
    pen.polygon([(0.45, 0.25), (0.55, 0.25), (0.5, 0.35)], (244, 150, 30))
    for x in (0.44, 0.56):
        pen.disc((x, 0.21), 0.022, BLACK)


def rabbit(pen: Pen, colour: Colour) -> None:
    """Draw a crouching rabbit with long upright ears and a white tail."""
    pen.disc((0.13, 0.7), 0.09, WHITE)
    pen.ellipse((0.42, 0.72), (0.29, 0.21), colour)
    pen.ellipse((0.35, 0.9), (0.2, 0.065), darker(colour, 0.88))
    pen.ellipse((0.66, 0.9), (0.1, 0.05), darker(colour, 0.88))
    for x, angle in ((0.64, -12.0), (0.76, 10.0)):
        pen.ellipse((x, 0.24), (0.055, 0.21), darker(colour, 0.85), angle)
        pen.ellipse((x, 0.24), (0.028, 0.16), (240, 170, 180), angle)
    pen.ellipse((0.71, 0.53), (0.17, 0.15), colour)
    pen.disc((0.87, 0.55), 0.025, (230, 110, 130))
    _eye(pen, 0.76, 0.49, 0.022)


def bird(pen: Pen, colour: Colour) -> None:
    """Draw a flying bird with raised wings and a forked tail."""
    lift = float(pen.rng.uniform(0.0, 0.1))
    pen.polygon([(0.3, 0.5), (0.02, 0.4), (0.08, 0.52), (0.02, 0.62)], darker(colour, 0.7))
    back: list[Point] = [(0.38, 0.46), (0.3, 0.06 + lift), (0.62, 0.42)]
    pen.polygon(back, darker(colour, 0.6))
    pen.ellipse((0.5, 0.52), (0.26, 0.12), colour)
    pen.disc((0.76, 0.44), 0.11, colour)
    pen.polygon([(0.84, 0.4), (0.99, 0.45), (0.84, 0.5)], (244, 170, 40))
    pen.polygon([(0.36, 0.5), (0.12, 0.16 + lift), (0.6, 0.48)], darker(colour, 0.82))
    pen.ellipse((0.54, 0.57), (0.15, 0.06), darker(colour, 1.35))
    _eye(pen, 0.79, 0.42)


def duck(pen: Pen, colour: Colour) -> None:
    """Draw a swimming duck with a flat orange bill."""
    pen.polygon([(0.1, 0.62), (0.02, 0.42), (0.3, 0.56)], darker(colour, 0.85))
    pen.ellipse((0.42, 0.7), (0.34, 0.19), colour)
    pen.line([(0.66, 0.62), (0.7, 0.4)], 0.14, colour)
    pen.disc((0.71, 0.32), 0.13, colour)
    pen.ellipse((0.88, 0.36), (0.11, 0.045), (244, 140, 30))
    pen.ellipse((0.38, 0.68), (0.2, 0.1), darker(colour, 0.8), -10)
    _eye(pen, 0.74, 0.28)


def fish(pen: Pen, colour: Colour) -> None:
    """Draw a fish with a fan tail, fins and pale stripes."""
    pen.polygon([(0.28, 0.5), (0.03, 0.26), (0.09, 0.5), (0.03, 0.74)], darker(colour, 0.8))
    pen.polygon([(0.4, 0.34), (0.55, 0.14), (0.72, 0.34)], darker(colour, 0.75))
    pen.polygon([(0.48, 0.66), (0.55, 0.84), (0.66, 0.64)], darker(colour, 0.75))
    pen.ellipse((0.57, 0.5), (0.37, 0.21), colour)
    with pen.inside():
        for x in (0.4, 0.56):
            pen.line([(x, 0.26), (x + 0.02, 0.74)], 0.06, darker(WHITE, 0.97))
    pen.polygon([(0.6, 0.5), (0.48, 0.62), (0.52, 0.46)], darker(colour, 0.7))
    _eye(pen, 0.8, 0.44, 0.028)


def whale(pen: Pen, colour: Colour) -> None:
    """Draw a whale with a pale belly, flukes and a spout."""
    pen.polygon([(0.2, 0.62), (0.02, 0.4), (0.12, 0.42), (0.16, 0.3), (0.3, 0.54)], colour)
    pen.ellipse((0.55, 0.64), (0.4, 0.23), colour)
    with pen.inside():
        pen.ellipse((0.66, 0.84), (0.36, 0.13), darker(WHITE, 0.92))
    pen.ellipse((0.52, 0.82), (0.06, 0.11), darker(colour, 0.75), 35)
    pen.arc((0.72, 0.6, 0.96, 0.76), 40, 140, 0.018, darker(colour, 0.5))
    for tip in (0.5, 0.68, 0.8):
        pen.line([(0.64, 0.42), (0.64 + (tip - 0.64) * 0.4, 0.26), (tip, 0.2)], 0.03, WHITE)
    _eye(pen, 0.8, 0.6)


def turtle(pen: Pen, colour: Colour) -> None:
    """Draw a turtle: domed shell with plates."""
    skin = darker(colour, 1.25)
    for x in (0.24, 0.62):
        pen.ellipse((x, 0.8), (0.09, 0.12), skin, 20)
    pen.polygon([(0.1, 0.72), (0.02, 0.8), (0.16, 0.8)], skin)
    pen.line([(0.72, 0.7), (0.86, 0.58)], 0.12, skin)
    pen.disc((0.88, 0.54), 0.1, skin)
    pen.pie((0.1, 0.32, 0.8, 1.14), 180, 360, darker(colour, 0.62))
    with pen.inside():
        for x in (0.2, 0.36, 0.54, 0.7):
            pen.ellipse((x, 0.66), (0.065, 0.08), (146, 104, 52))
        for x in (0.32, 0.46, 0.6):
            pen.ellipse((x, 0.48), (0.06, 0.07), (162, 118, 58))
    _eye(pen, 0.91, 0.51)


def crab(pen: Pen, colour: Colour) -> None:
    """Draw a crab from the front: two claws, six legs, eyes on stalks."""
    for side in (-1, 1):
        for y, reach in ((0.66, 0.36), (0.74, 0.33), (0.82, 0.28)):
            knee = (0.5 + side * reach, y - 0.04)
            pen.line([(0.5 + side * 0.2, y - 0.06), knee, (knee[0], y + 0.13)], 0.035, colour)
        pen.line([(0.5 + side * 0.24, 0.58), (0.5 + side * 0.38, 0.4)], 0.06, colour)
        x = 0.5 + side * 0.38
        start = 300 if side > 0 else 320
        pen.pie((x - 0.11, 0.16, x + 0.11, 0.42), start, start + 300, darker(colour, 0.9))
        pen.line([(0.5 + side * 0.07, 0.54), (0.5 + side * 0.09, 0.4)], 0.025, colour)
        pen.disc((0.5 + side * 0.09, 0.38), 0.035, BLACK)
    pen.ellipse((0.5, 0.66), (0.27, 0.16), colour)
    pen.arc((0.4, 0.6, 0.6, 0.74), 20, 160, 0.02, darker(colour, 0.5))


def butterfly(pen: Pen, colour: Colour) -> None:
    """Draw a butterfly from above: four spotted wings."""
    for side, tilt in ((-1, 28.0), (1, -28.0)):
        pen.ellipse((0.5 + side * 0.24, 0.34), (0.2, 0.27), BLACK, -tilt)
        pen.ellipse((0.5 + side * 0.24, 0.34), (0.165, 0.23), colour, -tilt)
        pen.ellipse((0.5 + side * 0.19, 0.7), (0.16, 0.2), BLACK, tilt)
        pen.ellipse((0.5 + side * 0.19, 0.7), (0.125, 0.165), darker(colour, 0.85), tilt)
        pen.disc((0.5 + side * 0.29, 0.27), 0.055, WHITE)
        pen.disc((0.5 + side * 0.21, 0.73), 0.045, WHITE)
        pen.line([(0.5, 0.2), (0.5 + side * 0.1, 0.04)], 0.015, BLACK)
    pen.ellipse((0.5, 0.5), (0.04, 0.34), BLACK)
