"""How the food, furniture and things of the picture world are drawn."""

from __future__ import annotations

import numpy as np

from builder.miniature.draw_animals import BLACK, WHITE
from builder.miniature.pen import PALETTE, Colour, Pen, darker, vary

_WOOD: Colour = (128, 80, 42)


def pizza(pen: Pen, colour: Colour) -> None:
    """Draw a pizza from above: crust, cheese, salami, herbs; now and then a slice is missing."""
    missing = 50 if pen.rng.random() < 0.4 else 0
    start = float(pen.rng.uniform(0, 360))
    pen.pie((0.04, 0.14, 0.96, 0.86), start, start + 360 - missing, (188, 122, 58))
    pen.pie((0.1, 0.19, 0.9, 0.81), start, start + 360 - missing, colour)
    for _ in range(11):
        turn, reach = pen.rng.uniform(0, 2 * np.pi), np.sqrt(pen.rng.uniform(0.05, 0.8))
        x, y = 0.5 + 0.36 * reach * float(np.cos(turn)), 0.5 + 0.27 * reach * float(np.sin(turn))
        with pen.inside():
            pen.ellipse((x, y), (0.07, 0.055), (196, 52, 38))
            pen.ellipse((x, y), (0.04, 0.03), (220, 90, 66))
    pen.spots((0.16, 0.22, 0.84, 0.78), 12, (0.014, 0.026), (66, 126, 44))


def cake(pen: Pen, colour: Colour) -> None:
    """Draw a layer cake with icing and burning candles."""
    for x in (0.32, 0.5, 0.68):
        pen.line([(x, 0.2), (x, 0.4)], 0.035, vary(pen.rng, (90, 150, 220), 40))
        pen.ellipse((x, 0.13), (0.028, 0.055), (255, 190, 50))
    pen.ellipse((0.5, 0.9), (0.48, 0.075), (206, 210, 218))
    pen.rectangle((0.12, 0.44, 0.88, 0.88), (190, 128, 70), 0.05)
    pen.rectangle((0.12, 0.62, 0.88, 0.69), darker(WHITE, 0.97))
    pen.rectangle((0.1, 0.36, 0.9, 0.5), colour, 0.06)
    for step in range(7):
        pen.ellipse((0.15 + step * 0.117, 0.51), (0.058, 0.07), colour)
    for x in (0.24, 0.41, 0.59, 0.76):
        pen.disc((x, 0.37), 0.045, (206, 36, 52))


def apple(pen: Pen, colour: Colour) -> None:
    """Draw an apple with a stem, a leaf and a gleam."""
    pen.disc((0.36, 0.56), 0.29, colour)
    pen.disc((0.64, 0.56), 0.29, colour)
    pen.ellipse((0.5, 0.64), (0.37, 0.3), colour)
    pen.ellipse((0.5, 0.3), (0.12, 0.05), darker(colour, 0.6))
    pen.line([(0.5, 0.32), (0.54, 0.1)], 0.04, (96, 62, 32))
    pen.ellipse((0.68, 0.14), (0.14, 0.06), (74, 150, 50), -18)
    pen.ellipse((0.28, 0.48), (0.06, 0.1), darker(colour, 1.5), 20)


def banana(pen: Pen, colour: Colour) -> None:
    """Draw a bunch of two bananas: crescents from one stem."""
    turn = np.linspace(0.1 * np.pi, 0.95 * np.pi, 20)
    for drop, tone in ((0.0, 0.84), (0.13, 1.0)):
        outer = [(0.5 - 0.44 * np.cos(t), 0.2 + drop + 0.56 * np.sin(t)) for t in turn]
        inner = [(0.5 - 0.4 * np.cos(t), 0.2 + drop + 0.26 * np.sin(t)) for t in turn[::-1]]
        points = [(float(x), float(y)) for x, y in outer + inner]
        pen.polygon(points, darker(colour, tone))
        pen.line(points[3:17], 0.016, darker(colour, tone * 0.78))
        pen.disc((0.925, 0.26 + drop), 0.045, (84, 62, 30))
    pen.line([(0.09, 0.42), (0.1, 0.22)], 0.09, (122, 104, 40))


def burger(pen: Pen, colour: Colour) -> None:
    """Draw a burger: seeded bun, lettuce, cheese, patty, bun."""
    bun = (214, 150, 74)
    pen.pie((0.08, 0.14, 0.92, 0.86), 180, 360, bun)
    for x, y in ((0.3, 0.32), (0.42, 0.24), (0.56, 0.25), (0.7, 0.33), (0.5, 0.36)):
        pen.ellipse((x, y), (0.025, 0.014), (250, 236, 200))
    for step in range(8):
        pen.ellipse((0.1 + step * 0.114, 0.54), (0.075, 0.05), (92, 176, 60))
    pen.rectangle((0.08, 0.54, 0.92, 0.6), (206, 50, 40))
    pen.rectangle((0.06, 0.59, 0.94, 0.71), darker(colour, 0.75), 0.05)
    pen.polygon([(0.12, 0.58), (0.88, 0.58), (0.62, 0.68), (0.5, 0.6)], (250, 200, 60))
    pen.rectangle((0.1, 0.7, 0.9, 0.86), darker(bun, 0.95), 0.07)


def bread(pen: Pen, colour: Colour) -> None:
    """Draw a loaf of bread with cuts and two pale slices."""
    crust = (178, 112, 52)
    pen.ellipse((0.44, 0.6), (0.42, 0.26), crust)
    pen.rectangle((0.04, 0.6, 0.86, 0.86), crust, 0.08)
    for x in (0.2, 0.36, 0.52):
        pen.line([(x, 0.42), (x + 0.09, 0.58)], 0.045, (232, 190, 128))
    pen.ellipse((0.8, 0.62), (0.17, 0.19), darker(crust, 0.85))
    pen.rectangle((0.66, 0.64, 0.94, 0.88), darker(crust, 0.85), 0.04)
    pen.ellipse((0.8, 0.63), (0.13, 0.15), (244, 220, 174))
    pen.rectangle((0.7, 0.65, 0.9, 0.84), (244, 220, 174), 0.03)


def carrot(pen: Pen, colour: Colour) -> None:
    """Draw a carrot lying aslant with a tuft of green leaves."""
    for dx, dy in ((-0.04, -0.17), (0.08, -0.19), (0.2, -0.12), (0.2, 0.0), (0.13, -0.16)):
        pen.line([(0.7, 0.28), (0.72 + dx, 0.24 + dy)], 0.05, vary(pen.rng, (60, 150, 50)))
    pen.polygon([(0.08, 0.94), (0.56, 0.26), (0.76, 0.42)], colour)
    pen.ellipse((0.66, 0.33), (0.15, 0.11), colour, 38)
    for x, y in ((0.54, 0.44), (0.42, 0.58), (0.32, 0.7)):
        pen.line([(x, y), (x + 0.07, y + 0.05)], 0.018, darker(colour, 0.72))


def cup(pen: Pen, colour: Colour) -> None:
    """Draw a cup with a handle on a saucer, steaming."""
    for x in (0.34, 0.5):
        pen.line([(x, 0.24), (x + 0.04, 0.16), (x - 0.02, 0.09), (x + 0.02, 0.02)], 0.03, WHITE)
    pen.ellipse((0.45, 0.88), (0.43, 0.075), darker(colour, 0.8))
    pen.arc((0.62, 0.4, 0.92, 0.74), 250, 480, 0.06, darker(colour, 0.85))
    pen.polygon([(0.14, 0.34), (0.74, 0.34), (0.62, 0.87), (0.26, 0.87)], colour)
    pen.ellipse((0.44, 0.34), (0.3, 0.07), darker(colour, 1.2))
    pen.ellipse((0.44, 0.345), (0.25, 0.05), (88, 52, 28))


def bottle(pen: Pen, colour: Colour) -> None:
    """Draw a glass bottle with a label and a cork."""
    pen.rectangle((0.45, 0.02, 0.55, 0.12), (190, 142, 84))
    pen.rectangle((0.43, 0.08, 0.57, 0.36), darker(colour, 0.9), 0.02)
    pen.ellipse((0.5, 0.42), (0.17, 0.14), colour)
    pen.rectangle((0.33, 0.4, 0.67, 0.97), colour, 0.04)
    pen.rectangle((0.33, 0.56, 0.67, 0.8), (240, 230, 200))
    pen.rectangle((0.4, 0.62, 0.6, 0.66), (180, 40, 40))
    pen.line([(0.38, 0.44), (0.38, 0.53)], 0.025, darker(colour, 1.8))


def chair(pen: Pen, colour: Colour) -> None:
    """Draw a wooden chair with a barred back and a coloured seat."""
    for x in (0.36, 0.86):
        pen.line([(x, 0.58), (x, 0.9)], 0.045, darker(_WOOD, 0.75))
    pen.line([(0.22, 0.06), (0.22, 0.96)], 0.06, _WOOD)
    pen.line([(0.44, 0.04), (0.38, 0.56)], 0.045, _WOOD)
    for y in (0.1, 0.24, 0.38):
        pen.line([(0.22, y + 0.02), (0.42, y)], 0.055, darker(_WOOD, 1.2))
    pen.polygon([(0.18, 0.62), (0.34, 0.53), (0.88, 0.53), (0.76, 0.62)], colour)
    pen.rectangle((0.18, 0.61, 0.77, 0.67), darker(colour, 0.75))
    pen.line([(0.73, 0.66), (0.73, 0.97)], 0.055, _WOOD)


def bed(pen: Pen, colour: Colour) -> None:
    """Draw a bed: headboard, pillow, coloured blanket."""
    pen.rectangle((0.02, 0.28, 0.1, 0.92), _WOOD, 0.02)
    pen.rectangle((0.9, 0.5, 0.98, 0.92), _WOOD, 0.02)
    pen.rectangle((0.06, 0.7, 0.94, 0.84), darker(_WOOD, 1.2))
    pen.rectangle((0.09, 0.56, 0.91, 0.74), darker(WHITE, 0.95), 0.03)
    pen.ellipse((0.21, 0.53), (0.11, 0.075), WHITE, -12)
    pen.polygon([(0.34, 0.52), (0.91, 0.52), (0.93, 0.78), (0.32, 0.78)], colour)
    for x in (0.44, 0.58, 0.72, 0.84):
        pen.line([(x, 0.55), (x - 0.01, 0.76)], 0.018, darker(colour, 0.8))
    pen.rectangle((0.33, 0.52, 0.42, 0.78), darker(colour, 1.35))


def sofa(pen: Pen, colour: Colour) -> None:
    """Draw a sofa: back, two cushions, two arms."""
    for x in (0.14, 0.86):
        pen.line([(x, 0.84), (x, 0.93)], 0.05, _WOOD)
    pen.rectangle((0.1, 0.3, 0.9, 0.7), darker(colour, 0.86), 0.08)
    pen.line([(0.5, 0.33), (0.5, 0.6)], 0.012, darker(colour, 0.6))
    pen.rectangle((0.15, 0.58, 0.495, 0.75), darker(colour, 1.12), 0.04)
    pen.rectangle((0.505, 0.58, 0.85, 0.75), darker(colour, 1.12), 0.04)
    pen.rectangle((0.06, 0.73, 0.94, 0.87), colour, 0.03)
    pen.rectangle((0.02, 0.48, 0.17, 0.87), colour, 0.07)
    pen.rectangle((0.83, 0.48, 0.98, 0.87), colour, 0.07)


def lamp(pen: Pen, colour: Colour) -> None:
    """Draw a standing lamp with a wide shade."""
    pen.ellipse((0.5, 0.95), (0.2, 0.045), (60, 54, 50))
    pen.line([(0.5, 0.36), (0.5, 0.93)], 0.04, (94, 84, 74))
    pen.ellipse((0.5, 0.4), (0.09, 0.07), (255, 246, 190))
    pen.polygon([(0.33, 0.05), (0.67, 0.05), (0.86, 0.38), (0.14, 0.38)], colour)
    pen.polygon([(0.43, 0.05), (0.57, 0.05), (0.62, 0.38), (0.38, 0.38)], darker(colour, 1.3))


def clock(pen: Pen, colour: Colour) -> None:
    """Draw a round wall clock with twelve marks and two hands."""
    pen.disc((0.5, 0.5), 0.47, darker(_WOOD, 0.8) if sum(colour) > 500 else colour)
    pen.disc((0.5, 0.5), 0.39, (250, 248, 236))
    for hour in range(12):
        x, y = float(np.cos(hour * np.pi / 6)), float(np.sin(hour * np.pi / 6))
        ends = [(0.5 + 0.31 * x, 0.5 + 0.31 * y), (0.5 + 0.36 * x, 0.5 + 0.36 * y)]
        pen.line(ends, 0.035, BLACK)
    for reach, width in ((0.2, 0.05), (0.29, 0.032)):
        turn = float(pen.rng.uniform(0, 2 * np.pi))
        tip = (0.5 + reach * float(np.cos(turn)), 0.5 + reach * float(np.sin(turn)))
        pen.line([(0.5, 0.5), tip], width, BLACK)
    pen.disc((0.5, 0.5), 0.04, (200, 40, 40))


def television(pen: Pen, colour: Colour) -> None:
    """Draw a television with an aerial, a bright screen and knobs."""
    pen.line([(0.5, 0.24), (0.3, 0.04)], 0.022, (90, 90, 96))
    pen.line([(0.5, 0.24), (0.7, 0.04)], 0.022, (90, 90, 96))
    for x in (0.2, 0.8):
        pen.line([(x, 0.84), (x, 0.95)], 0.05, BLACK)
    pen.rectangle((0.04, 0.22, 0.96, 0.87), colour, 0.06)
    pen.rectangle((0.1, 0.29, 0.74, 0.8), (96, 190, 226), 0.06)
    with pen.inside():
        pen.ellipse((0.3, 0.78), (0.22, 0.16), (70, 170, 90))
        pen.disc((0.6, 0.42), 0.06, (250, 226, 110))
        pen.rectangle((0.1, 0.8, 0.74, 0.87), colour)
    for y in (0.38, 0.54):
        pen.disc((0.85, y), 0.05, (206, 206, 210))


def book(pen: Pen, colour: Colour) -> None:
    """Draw a thick closed book, pages to the right, a gilt title."""
    pen.polygon([(0.12, 0.24), (0.72, 0.14), (0.92, 0.76), (0.3, 0.9)], darker(colour, 0.6))
    pen.polygon([(0.16, 0.22), (0.78, 0.13), (0.96, 0.7), (0.32, 0.83)], (248, 242, 222))
    pen.polygon([(0.08, 0.16), (0.7, 0.07), (0.9, 0.63), (0.26, 0.76)], colour)
    pen.polygon([(0.08, 0.16), (0.26, 0.76), (0.32, 0.86), (0.12, 0.26)], darker(colour, 0.72))
    pen.line([(0.28, 0.26), (0.64, 0.2)], 0.045, (240, 206, 96))
    pen.line([(0.34, 0.37), (0.6, 0.33)], 0.03, (240, 206, 96))


def ball(pen: Pen, colour: Colour) -> None:
    """Draw a ball with white panels."""
    pen.disc((0.5, 0.5), 0.45, colour)
    with pen.inside():
        pen.ellipse((0.5, 0.5), (0.17, 0.46), WHITE, float(pen.rng.uniform(-40, 40)))
        pen.arc((-0.35, 0.05, 0.35, 0.95), 270, 450, 0.07, WHITE)
        pen.arc((0.65, 0.05, 1.35, 0.95), 90, 270, 0.07, WHITE)
    pen.disc((0.5, 0.5), 0.09, PALETTE["yellow"] if colour[0] < 200 else darker(colour, 0.7))


def umbrella(pen: Pen, colour: Colour) -> None:
    """Draw an open parasol with stripes on a pole."""
    pen.line([(0.5, 0.06), (0.5, 0.96)], 0.032, (110, 82, 54))
    pen.pie((0.02, 0.08, 0.98, 0.96), 180, 360, colour)
    with pen.inside():
        pen.pie((0.22, 0.08, 0.78, 0.98), 180, 360, WHITE)
        pen.pie((0.4, 0.08, 0.6, 0.98), 180, 360, colour)
    for step in range(6):
        x = 0.1 + step * 0.16
        pen.disc((x, 0.53), 0.075, WHITE if step in (1, 4) else colour)
    pen.line([(0.5, 0.5), (0.5, 0.96)], 0.032, (110, 82, 54))


def kite(pen: Pen, colour: Colour) -> None:
    """Draw a diamond kite with a cross and a ribboned tail."""
    tail = [(0.44, 0.64), (0.34, 0.76), (0.42, 0.86), (0.28, 0.97)]
    pen.line(tail, 0.018, (90, 80, 80))
    for x, y in tail[1:]:
        pen.polygon([(x - 0.07, y - 0.04), (x - 0.07, y + 0.04), (x, y)], PALETTE["red"])
        pen.polygon([(x + 0.07, y - 0.04), (x + 0.07, y + 0.04), (x, y)], PALETTE["yellow"])
    pen.polygon([(0.6, 0.02), (0.9, 0.3), (0.44, 0.66), (0.24, 0.22)], colour)
    pen.polygon([(0.6, 0.02), (0.9, 0.3), (0.56, 0.27)], darker(WHITE, 0.98))
    pen.polygon([(0.44, 0.66), (0.24, 0.22), (0.56, 0.27)], darker(WHITE, 0.98))
