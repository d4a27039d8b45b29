"""How the vehicles of the picture world are drawn: seen from the side, fronts to the right."""

from __future__ import annotations

from builder.miniature.draw_animals import BLACK, WHITE
from builder.miniature.pen import PALETTE, Colour, Pen, darker, vary

_GLASS: Colour = (176, 216, 236)
_TYRE: Colour = (34, 34, 38)
_RIM: Colour = (196, 198, 204)
_LIGHT: Colour = (255, 236, 140)


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc((x, y), radius, _TYRE)
    pen.disc((x, y), radius * 0.5, _RIM)


def boat(pen: Pen, colour: Colour) -> None:
    """Draw a sailing boat: mast, two sails, a coloured hull."""
    sail = vary(pen.rng, WHITE, 8)
    pen.line([(0.48, 0.06), (0.48, 0.78)], 0.025, (112, 74, 40))
    pen.polygon([(0.51, 0.06), (0.51, 0.68), (0.9, 0.68)], sail)
    pen.polygon([(0.45, 0.16), (0.45, 0.68), (0.14, 0.68)], darker(sail, 0.88))
    with pen.inside():
        pen.line([(0.52, 0.42), (0.9, 0.42)], 0.05, colour)
    pen.polygon([(0.04, 0.74), (0.96, 0.74), (0.82, 0.96), (0.18, 0.96)], colour)
    pen.line([(0.06, 0.75), (0.94, 0.75)], 0.03, darker(WHITE, 0.9))


def ship(pen: Pen, colour: Colour) -> None:
    """Draw a steamer: long dark hull, white decks with windows, two funnels and smoke."""
    for x, y, radius in ((0.3, 0.1, 0.05), (0.22, 0.07, 0.06), (0.12, 0.06, 0.05)):
        pen.disc((x, y), radius, (190, 190, 194))
    for x in (0.36, 0.54):
        pen.rectangle((x, 0.14, x + 0.09, 0.42), (206, 60, 40))
        pen.rectangle((x, 0.14, x + 0.09, 0.2), BLACK)
    pen.rectangle((0.26, 0.36, 0.74, 0.52), WHITE)
    pen.rectangle((0.16, 0.5, 0.84, 0.64), darker(WHITE, 0.94))
    for step in range(6):
        pen.rectangle((0.3 + step * 0.07, 0.41, 0.34 + step * 0.07, 0.46), (80, 120, 160))
    for step in range(8):
        pen.disc((0.22 + step * 0.08, 0.57), 0.02, (80, 120, 160))
    pen.polygon([(0.02, 0.62), (0.99, 0.6), (0.88, 0.86), (0.12, 0.86)], colour)
    with pen.inside():
        pen.rectangle((0.0, 0.8, 1.0, 0.9), darker(PALETTE["red"], 0.7))


def car(pen: Pen, colour: Colour) -> None:
    """Draw a car: cabin with two windows, bonnet, two wheels."""
    pen.polygon([(0.22, 0.54), (0.32, 0.34), (0.64, 0.34), (0.76, 0.54)], colour)
    pen.polygon([(0.27, 0.53), (0.345, 0.385), (0.46, 0.385), (0.46, 0.53)], _GLASS)
    pen.polygon([(0.5, 0.53), (0.5, 0.385), (0.615, 0.385), (0.7, 0.53)], _GLASS)
    pen.rectangle((0.05, 0.52, 0.96, 0.72), colour, 0.06)
    pen.rectangle((0.05, 0.66, 0.96, 0.71), darker(colour, 0.65))
    pen.line([(0.48, 0.54), (0.48, 0.68)], 0.012, darker(colour, 0.55))
    pen.disc((0.93, 0.58), 0.035, _LIGHT)
    pen.disc((0.075, 0.58), 0.025, (220, 40, 40))
    _wheel(pen, 0.25, 0.72, 0.105)
    _wheel(pen, 0.74, 0.72, 0.105)


def bus(pen: Pen, colour: Colour) -> None:
    """Draw a bus: a long box with a row of windows."""
    pen.rectangle((0.03, 0.22, 0.97, 0.78), colour, 0.06)
    pen.rectangle((0.03, 0.58, 0.97, 0.63), darker(WHITE, 0.95))
    for step in range(5):
        x = 0.08 + step * 0.145
        pen.rectangle((x, 0.29, x + 0.115, 0.5), _GLASS, 0.015)
    pen.rectangle((0.81, 0.29, 0.93, 0.74), darker(_GLASS, 0.85), 0.015)
    pen.disc((0.945, 0.68), 0.025, _LIGHT)
    _wheel(pen, 0.24, 0.8, 0.095)
    _wheel(pen, 0.72, 0.8, 0.095)


def truck(pen: Pen, colour: Colour) -> None:
    """Draw a truck: a tall pale box behind a coloured cab."""
    pen.rectangle((0.02, 0.2, 0.64, 0.72), vary(pen.rng, (214, 208, 196)), 0.01)
    for x in (0.14, 0.27, 0.4, 0.52):
        pen.line([(x, 0.23), (x, 0.69)], 0.012, (164, 158, 146))
    pen.rectangle((0.02, 0.68, 0.7, 0.75), (70, 70, 74))
    pen.polygon([(0.66, 0.34), (0.84, 0.34), (0.97, 0.54), (0.97, 0.76), (0.66, 0.76)], colour)
    pen.polygon([(0.73, 0.39), (0.82, 0.39), (0.92, 0.54), (0.73, 0.54)], _GLASS)
    pen.disc((0.95, 0.66), 0.026, _LIGHT)
    for x in (0.17, 0.38, 0.82):
        _wheel(pen, x, 0.78, 0.1)


def train(pen: Pen, colour: Colour) -> None:
    """Draw a steam engine pulling a wagon, with smoke, on rails."""
    for x, y, radius in ((0.84, 0.2, 0.05), (0.75, 0.13, 0.065), (0.63, 0.1, 0.07)):
        pen.disc((x, y), radius, (204, 204, 208))
    pen.rectangle((0.02, 0.44, 0.34, 0.74), darker(colour, 0.8), 0.01)
    for x in (0.06, 0.16, 0.26):
        pen.rectangle((x, 0.49, x + 0.06, 0.6), _GLASS)
    pen.rectangle((0.38, 0.36, 0.58, 0.74), colour)
    pen.rectangle((0.36, 0.32, 0.6, 0.37), BLACK)
    pen.rectangle((0.43, 0.42, 0.54, 0.53), _GLASS)
    pen.rectangle((0.56, 0.48, 0.94, 0.74), darker(colour, 0.9), 0.05)
    pen.rectangle((0.82, 0.28, 0.89, 0.5), BLACK)
    pen.disc((0.94, 0.57), 0.03, _LIGHT)
    pen.polygon([(0.9, 0.74), (0.99, 0.88), (0.9, 0.88)], (90, 90, 94))
    for x, radius in ((0.1, 0.06), (0.26, 0.06), (0.46, 0.085), (0.65, 0.085), (0.83, 0.06)):
        pen.disc((x, 0.88 - radius), radius, _TYRE)
        pen.disc((x, 0.88 - radius), radius * 0.45, (206, 60, 50))
    pen.rectangle((0.0, 0.875, 1.0, 0.905), (110, 92, 82))


def bicycle(pen: Pen, colour: Colour) -> None:
    """Draw a bicycle: two spoked wheels and a frame."""
    for x in (0.24, 0.76):
        for dx, dy in ((0.0, 0.19), (0.135, 0.135), (0.19, 0.0), (0.135, -0.135)):
            pen.line([(x - dx, 0.72 - dy), (x + dx, 0.72 + dy)], 0.008, (150, 150, 156))
        pen.arc((x - 0.22, 0.5, x + 0.22, 0.94), 0, 360, 0.04, _TYRE)
    frame = [(0.24, 0.72), (0.38, 0.4), (0.66, 0.4), (0.47, 0.72), (0.24, 0.72)]
    pen.line(frame, 0.04, colour)
    pen.line([(0.47, 0.72), (0.36, 0.32)], 0.04, colour)
    pen.line([(0.76, 0.72), (0.64, 0.28), (0.74, 0.24)], 0.04, colour)
    pen.line([(0.28, 0.31), (0.43, 0.31)], 0.055, BLACK)
    pen.disc((0.47, 0.72), 0.05, (120, 120, 126))


def plane(pen: Pen, colour: Colour) -> None:
    """Draw a plane: white fuselage, coloured wings and tail, a row of windows."""
    pen.polygon([(0.36, 0.44), (0.28, 0.16), (0.38, 0.16), (0.56, 0.44)], darker(colour, 0.75))
    pen.polygon([(0.06, 0.44), (0.02, 0.16), (0.13, 0.16), (0.27, 0.42)], colour)
    pen.ellipse((0.5, 0.48), (0.47, 0.115), vary(pen.rng, WHITE, 6))
    with pen.inside():
        pen.rectangle((0.0, 0.53, 1.0, 0.6), colour)
    for step in range(8):
        pen.disc((0.27 + step * 0.065, 0.46), 0.018, (70, 110, 160))
    pen.pie((0.78, 0.39, 0.98, 0.53), 200, 350, (70, 110, 160))
    pen.polygon([(0.4, 0.52), (0.24, 0.86), (0.36, 0.86), (0.62, 0.53)], darker(colour, 0.9))
    pen.rectangle((0.4, 0.66, 0.54, 0.73), (120, 124, 132), 0.03)


def balloon(pen: Pen, colour: Colour) -> None:
    """Draw a hot-air balloon: a striped envelope over a basket."""
    for x in (0.43, 0.57):
        pen.line([(0.5 + (x - 0.5) * 2.6, 0.6), (x, 0.84)], 0.012, (90, 70, 50))
    pen.polygon([(0.2, 0.48), (0.8, 0.48), (0.58, 0.76), (0.42, 0.76)], colour)
    pen.disc((0.5, 0.37), 0.34, colour)
    stripe = darker(PALETTE["yellow"] if colour[0] < 200 or colour[1] < 150 else WHITE, 0.98)
    with pen.inside():
        pen.ellipse((0.5, 0.42), (0.1, 0.42), stripe)
        pen.arc((0.22, 0.0, 0.78, 0.84), 90, 270, 0.07, stripe)
        pen.arc((0.22, 0.0, 0.78, 0.84), 270, 450, 0.07, stripe)
    pen.rectangle((0.41, 0.84, 0.59, 0.97), (142, 94, 48), 0.02)


def rocket(pen: Pen, colour: Colour) -> None:
    """Draw an upright rocket with fins, a round window and a flame."""
    pen.polygon([(0.4, 0.76), (0.5, 1.0), (0.6, 0.76)], (250, 190, 50))
    pen.polygon([(0.44, 0.76), (0.5, 0.91), (0.56, 0.76)], (232, 80, 30))
    fin = PALETTE["red"] if colour[1] > 120 else darker(WHITE, 0.85)
    pen.polygon([(0.37, 0.52), (0.22, 0.8), (0.38, 0.76)], fin)
    pen.polygon([(0.63, 0.52), (0.78, 0.8), (0.62, 0.76)], fin)
    pen.ellipse((0.5, 0.4), (0.15, 0.38), colour)
    with pen.inside():
        pen.rectangle((0.3, 0.0, 0.7, 0.19), fin)
        pen.rectangle((0.3, 0.66, 0.7, 0.8), darker(fin, 0.8))
    pen.disc((0.5, 0.37), 0.075, (90, 96, 110))
    pen.disc((0.5, 0.37), 0.052, _GLASS)
