"""How the people, buildings, plants and sky things of the picture world are drawn."""

from __future__ import annotations

import numpy as np

from builder.miniature.draw_animals import BLACK, WHITE
from builder.miniature.pen import PALETTE, Colour, Pen, darker, vary

_SKINS: tuple[Colour, ...] = ((244, 206, 172), (214, 162, 120), (150, 100, 66), (104, 68, 46))
_HAIRS: tuple[Colour, ...] = ((60, 40, 28), (30, 26, 26), (206, 160, 70), (140, 70, 34))
_PANE: Colour = (255, 226, 130)
_WOOD: Colour = (118, 76, 42)


def _pick(pen: Pen, tones: tuple[Colour, ...]) -> Colour:
    return vary(pen.rng, tones[int(pen.rng.integers(len(tones)))], 8)


def man(pen: Pen, colour: Colour) -> None:
    """Draw a man: hat, coat in his colour, trousers."""
    skin, trousers = _pick(pen, _SKINS), vary(pen.rng, (50, 56, 90))
    swing = float(pen.rng.uniform(-0.04, 0.08))
    for side in (-1, 1):
        pen.line([(0.5 + side * 0.05, 0.6), (0.5 + side * (0.06 + swing), 0.92)], 0.1, trousers)
        foot = 0.5 + side * (0.06 + swing)
        pen.ellipse((foot + 0.02, 0.95), (0.07, 0.035), BLACK)
        hand = (0.5 + side * 0.21, 0.56 - swing)
        pen.line([(0.5 + side * 0.11, 0.34), hand], 0.075, darker(colour, 0.82))
        pen.disc(hand, 0.038, skin)
    pen.rectangle((0.37, 0.28, 0.63, 0.66), colour, 0.06)
    pen.line([(0.5, 0.3), (0.5, 0.64)], 0.014, darker(colour, 0.55))
    pen.disc((0.5, 0.18), 0.105, skin)
    pen.rectangle((0.36, 0.1, 0.64, 0.135), darker(BLACK, 1.4), 0.01)
    pen.rectangle((0.42, 0.01, 0.58, 0.12), darker(BLACK, 1.4), 0.02)
    for x in (0.46, 0.54):
        pen.disc((x, 0.18), 0.015, BLACK)


def woman(pen: Pen, colour: Colour) -> None:
    """Draw a woman: long hair and a wide dress in her colour."""
    skin, hair = _pick(pen, _SKINS), _pick(pen, _HAIRS)
    pen.ellipse((0.5, 0.24), (0.15, 0.2), hair)
    for side in (-1, 1):
        pen.line([(0.5 + side * 0.06, 0.8), (0.5 + side * 0.06, 0.94)], 0.05, skin)
        pen.ellipse((0.5 + side * 0.07, 0.96), (0.05, 0.03), darker(colour, 0.5))
        hand = (0.5 + side * 0.2, 0.55)
        pen.line([(0.5 + side * 0.09, 0.35), hand], 0.055, skin)
    pen.polygon([(0.4, 0.31), (0.6, 0.31), (0.58, 0.5), (0.42, 0.5)], colour)
    pen.polygon([(0.43, 0.46), (0.57, 0.46), (0.76, 0.86), (0.24, 0.86)], colour)
    pen.rectangle((0.42, 0.46, 0.58, 0.5), darker(colour, 0.55))
    pen.disc((0.5, 0.19), 0.1, skin)
    pen.pie((0.38, 0.05, 0.62, 0.29), 180, 360, hair)
    for x in (0.46, 0.54):
        pen.disc((x, 0.2), 0.015, BLACK)
    pen.arc((0.46, 0.2, 0.54, 0.26), 20, 160, 0.014, (200, 40, 60))


def snowman(pen: Pen, colour: Colour) -> None:
    """Draw a snowman: three balls, carrot nose, scarf, hat."""
    for side in (-1, 1):
        pen.line([(0.5 + side * 0.14, 0.48), (0.5 + side * 0.36, 0.34)], 0.025, _WOOD)
    pen.disc((0.5, 0.77), 0.21, darker(colour, 0.93))
    pen.disc((0.5, 0.5), 0.165, darker(colour, 0.97))
    pen.disc((0.5, 0.27), 0.13, colour)
    pen.line([(0.39, 0.38), (0.61, 0.38)], 0.055, PALETTE["red"])
    pen.line([(0.57, 0.38), (0.6, 0.52)], 0.05, darker(PALETTE["red"], 0.85))
    for y in (0.47, 0.55, 0.7):
        pen.disc((0.5, y), 0.02, BLACK)
    pen.polygon([(0.5, 0.26), (0.5, 0.31), (0.68, 0.3)], PALETTE["orange"])
    for x in (0.45, 0.55):
        pen.disc((x, 0.23), 0.018, BLACK)
    pen.rectangle((0.34, 0.13, 0.66, 0.17), BLACK)
    pen.rectangle((0.4, 0.0, 0.6, 0.16), BLACK)


def house(pen: Pen, colour: Colour) -> None:
    """Draw a house: gabled roof, chimney, door and two lit windows."""
    roof = _pick(pen, ((150, 58, 40), (90, 60, 50), (96, 100, 112)))
    pen.rectangle((0.68, 0.1, 0.78, 0.36), darker(roof, 0.8))
    pen.rectangle((0.12, 0.44, 0.88, 0.97), colour)
    with pen.inside():
        for y in (0.54, 0.64, 0.74, 0.84):
            pen.line([(0.1, y), (0.9, y)], 0.008, darker(colour, 0.85))
    pen.polygon([(0.02, 0.46), (0.5, 0.06), (0.98, 0.46)], roof)
    pen.rectangle((0.43, 0.66, 0.58, 0.97), _WOOD)
    pen.disc((0.55, 0.82), 0.014, _PANE)
    for x in (0.19, 0.65):
        pen.rectangle((x, 0.54, x + 0.17, 0.72), WHITE)
        pen.rectangle((x + 0.015, 0.555, x + 0.155, 0.705), _PANE)
        pen.line([(x + 0.085, 0.54), (x + 0.085, 0.72)], 0.014, WHITE)
        pen.line([(x, 0.63), (x + 0.17, 0.63)], 0.014, WHITE)


def castle(pen: Pen, colour: Colour) -> None:
    """Draw a castle: battlements, two towers with cones and flags, a dark gate."""
    for x in (0.16, 0.84):
        pen.line([(x, 0.1), (x, 0.0)], 0.014, BLACK)
        pen.polygon([(x, 0.0), (x + 0.12, 0.035), (x, 0.07)], PALETTE["red"])
        pen.rectangle((x - 0.11, 0.3, x + 0.11, 0.97), colour)
        pen.polygon([(x - 0.14, 0.31), (x, 0.09), (x + 0.14, 0.31)], (80, 70, 120))
        pen.rectangle((x - 0.025, 0.42, x + 0.025, 0.54), BLACK, 0.02)
    pen.rectangle((0.24, 0.54, 0.76, 0.97), darker(colour, 0.88))
    for step in range(4):
        pen.rectangle((0.27 + step * 0.125, 0.46, 0.34 + step * 0.125, 0.56), darker(colour, 0.88))
    with pen.inside():
        for row in range(6):
            y = 0.6 + row * 0.065
            for step in range(8):
                x = 0.04 + step * 0.13 + (row % 2) * 0.06
                pen.line([(x, y), (x + 0.06, y)], 0.01, darker(colour, 0.66))
    pen.pie((0.38, 0.64, 0.62, 0.94), 180, 360, (50, 34, 24))
    pen.rectangle((0.38, 0.78, 0.62, 0.97), (50, 34, 24))


def lighthouse(pen: Pen, colour: Colour) -> None:
    """Draw a lighthouse: a tapering tower with red bands and a lamp room."""
    band = PALETTE["red"] if colour[1] > 120 else WHITE
    pen.polygon([(0.4, 0.26), (0.6, 0.26), (0.7, 0.97), (0.3, 0.97)], colour)
    with pen.inside():
        for y in (0.34, 0.56, 0.78):
            pen.rectangle((0.2, y, 0.8, y + 0.11), band)
    pen.rectangle((0.35, 0.235, 0.65, 0.27), BLACK)
    pen.rectangle((0.415, 0.12, 0.585, 0.24), (255, 236, 120))
    pen.line([(0.5, 0.12), (0.5, 0.24)], 0.016, BLACK)
    pen.polygon([(0.38, 0.13), (0.5, 0.02), (0.62, 0.13)], (160, 34, 34))
    pen.rectangle((0.45, 0.87, 0.55, 0.97), _WOOD)


def tent(pen: Pen, colour: Colour) -> None:
    """Draw a tent with an open dark entrance."""
    pen.polygon([(0.42, 0.2), (0.98, 0.9), (0.7, 0.94)], darker(colour, 0.68))
    pen.polygon([(0.42, 0.18), (0.72, 0.95), (0.04, 0.95)], colour)
    pen.polygon([(0.42, 0.32), (0.54, 0.95), (0.3, 0.95)], (46, 36, 34))
    pen.polygon([(0.42, 0.32), (0.36, 0.95), (0.28, 0.95)], darker(colour, 1.3))
    pen.line([(0.42, 0.2), (0.42, 0.1)], 0.025, _WOOD)


def tree(pen: Pen, colour: Colour) -> None:
    """Draw a tree: a broad leafy crown, or a fir of three tiers."""
    trunk = vary(pen.rng, (104, 68, 38))
    if pen.rng.random() < 0.35:
        pen.rectangle((0.45, 0.8, 0.55, 0.98), trunk)
        for y, reach in ((0.82, 0.33), (0.6, 0.26), (0.38, 0.19)):
            tone = darker(colour, 0.62 + 0.12 * (0.82 - y))
            pen.polygon([(0.5 - reach, y), (0.5, y - 0.36), (0.5 + reach, y)], tone)
        return
    pen.polygon([(0.44, 0.97), (0.46, 0.5), (0.54, 0.5), (0.57, 0.97)], trunk)
    pen.line([(0.5, 0.66), (0.66, 0.5)], 0.04, trunk)
    for centre in ((0.32, 0.42), (0.68, 0.42), (0.5, 0.26), (0.42, 0.5), (0.6, 0.5)):
        pen.disc(centre, 0.2, vary(pen.rng, darker(colour, 0.9), 14))
    pen.curls((0.5, 0.38), (0.28, 0.22), 16, colour)
    pen.curls((0.5, 0.36), (0.15, 0.12), 9, darker(colour, 1.15))


def palm(pen: Pen, colour: Colour) -> None:
    """Draw a palm: a bent ringed trunk, long drooping fronds, coconuts."""
    lean = float(pen.rng.uniform(-0.12, 0.12))
    top = (0.5 + lean, 0.28)
    pen.line([(0.5, 0.97), (0.5 + lean * 0.3, 0.6), top], 0.07, (156, 116, 70))
    for y in (0.4, 0.52, 0.64, 0.76, 0.88):
        with pen.inside():
            pen.line([(0.3, y), (0.7, y)], 0.014, (112, 78, 44))
    for dx, dy in ((-0.42, 0.18), (0.42, 0.18), (-0.4, -0.08), (0.4, -0.08), (-0.2, -0.22),
                   (0.22, -0.22), (-0.24, 0.3), (0.24, 0.3)):  # fmt: skip
        middle = (top[0] + dx * 0.55, top[1] + dy * 0.5 - 0.09)
        tip = (top[0] + dx, top[1] + dy)
        pen.line([top, middle, tip], 0.055, vary(pen.rng, darker(colour, 0.9), 14))
    for dx in (-0.05, 0.05):
        pen.disc((top[0] + dx, top[1] + 0.04), 0.045, (90, 56, 28))


def flower(pen: Pen, colour: Colour) -> None:
    """Draw one flower: stem, leaves, a wheel of petals around a golden heart."""
    pen.line([(0.5, 0.4), (0.48, 0.97)], 0.045, (62, 136, 48))
    pen.ellipse((0.36, 0.76), (0.13, 0.05), (74, 150, 56), 30)
    pen.ellipse((0.62, 0.68), (0.13, 0.05), (74, 150, 56), -30)
    count = 7
    for step in range(count):
        turn = 2 * np.pi * step / count
        x, y = 0.5 + 0.2 * float(np.cos(turn)), 0.3 + 0.2 * float(np.sin(turn))
        tone = darker(colour, 0.9 if step % 2 else 1.05)
        pen.ellipse((x, y), (0.13, 0.085), tone, float(np.degrees(turn)))
    heart = (250, 190, 40) if colour[2] > 90 or colour[1] < 140 else (130, 74, 30)
    pen.disc((0.5, 0.3), 0.1, heart)


def mushroom(pen: Pen, colour: Colour) -> None:
    """Draw a toadstool with a dotted cap."""
    pen.polygon([(0.4, 0.5), (0.6, 0.5), (0.66, 0.95), (0.34, 0.95)], (240, 232, 212))
    pen.pie((0.06, 0.1, 0.94, 0.98), 180, 360, colour)
    pen.ellipse((0.5, 0.54), (0.44, 0.07), darker(colour, 0.75))
    pen.ellipse((0.5, 0.555), (0.34, 0.045), (236, 220, 196))
    for x, y, radius in (
        (0.3, 0.34, 0.06),
        (0.5, 0.22, 0.065),
        (0.7, 0.35, 0.06),
        (0.5, 0.42, 0.04),
    ):
        pen.disc((x, y), radius, WHITE)


def cactus(pen: Pen, colour: Colour) -> None:
    """Draw a cactus with two arms and pale spines in a clay pot."""
    pen.line([(0.5, 0.34), (0.24, 0.44), (0.24, 0.28)], 0.11, darker(colour, 0.88))
    pen.line([(0.5, 0.54), (0.76, 0.46), (0.76, 0.24)], 0.11, darker(colour, 0.88))
    pen.rectangle((0.39, 0.06, 0.61, 0.82), colour, 0.1)
    for x in (0.45, 0.5, 0.55):
        for y in np.arange(0.14, 0.74, 0.09):
            pen.line([(x - 0.012, float(y)), (x + 0.012, float(y) + 0.02)], 0.01, (236, 240, 190))
    pen.rectangle((0.28, 0.74, 0.72, 0.82), (190, 98, 60))
    pen.polygon([(0.32, 0.82), (0.68, 0.82), (0.62, 0.98), (0.38, 0.98)], (172, 86, 52))


def sun(pen: Pen, colour: Colour) -> None:
    """Draw the sun with rays."""
    for step in range(12):
        turn = step * np.pi / 6
        tip = (0.5 + 0.48 * float(np.cos(turn)), 0.5 + 0.48 * float(np.sin(turn)))
        pen.line([(0.5, 0.5), tip], 0.04, darker(colour, 1.05))
    pen.disc((0.5, 0.5), 0.31, colour)
    pen.disc((0.5, 0.5), 0.23, darker(colour, 1.15))


def moon(pen: Pen, colour: Colour) -> None:
    """Draw the moon: a crescent, or full with craters."""
    pale = darker(colour, 1.12)
    if pen.rng.random() < 0.5:
        turn = np.linspace(0.5 * np.pi, 1.5 * np.pi, 20)
        outer = [(0.62 + 0.5 * np.cos(t), 0.5 + 0.46 * np.sin(t)) for t in turn]
        inner = [(0.62 + 0.2 * np.cos(t), 0.5 + 0.46 * np.sin(t)) for t in turn[::-1]]
        pen.polygon([(float(x), float(y)) for x, y in outer + inner], pale)
        return
    pen.disc((0.5, 0.5), 0.45, pale)
    for x, y, radius in (
        (0.36, 0.38, 0.1),
        (0.62, 0.56, 0.12),
        (0.44, 0.7, 0.07),
        (0.6, 0.28, 0.06),
    ):
        pen.disc((x, y), radius, darker(pale, 0.86))


def star(pen: Pen, colour: Colour) -> None:
    """Draw a five-pointed star."""
    turn = -np.pi / 2 + np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, 0.48, 0.2)
    xs, ys = 0.5 + reach * np.cos(turn), 0.5 + reach * np.sin(turn)
    pen.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), darker(colour, 1.1))


def cloud(pen: Pen, colour: Colour) -> None:
    """Draw a cloud: overlapping discs over a flat base."""
    for x, y, radius in (
        (0.24, 0.58, 0.17),
        (0.42, 0.46, 0.21),
        (0.62, 0.48, 0.19),
        (0.78, 0.6, 0.16),
    ):
        pen.disc((x, y), radius * float(pen.rng.uniform(0.9, 1.15)), vary(pen.rng, colour, 5))
    pen.rectangle((0.16, 0.58, 0.88, 0.76), darker(colour, 0.95), 0.08)


def rainbow(pen: Pen, colour: Colour) -> None:
    """Draw a rainbow of six bands."""
    for step, name in enumerate(("red", "orange", "yellow", "green", "blue", "purple")):
        inset = 0.02 + step * 0.045
        box = (inset, 0.2 + inset, 1 - inset, 1.16 - inset)
        pen.arc(box, 180, 360, 0.055, colour if name == "red" else darker(PALETTE[name], 1.1))
