"""The palette, held against what readers with other eyes and a black-and-white printer see."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from labkit.see import style

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
EYES = {
    "all three cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(shade: str) -> np.ndarray:
    c = np.array([int(shade[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_any_two_colours_can_be_told_apart(eye: str) -> None:
    seen = {shade: cielab(np.array(EYES[eye]) @ linear(shade)) for shade in style.PALETTE}
    for one, other in combinations(style.PALETTE, 2):
        # About six times what two patches side by side need to look different.
        assert np.linalg.norm(seen[one] - seen[other]) > 14, (one, other)


def test_neighbouring_numbers_differ_in_black_and_white() -> None:
    lightness = [cielab(linear(style.colour(n)))[0] for n in range(1, 9)]
    assert all(abs(a - b) > 10 for a, b in pairwise(lightness))


def test_a_number_keeps_its_colour_and_no_two_look_the_same() -> None:
    assert style.colour(1) == style.PALETTE[0]
    looks = {(style.colour(n), style.hatch(n)) for n in range(1, 49)}
    assert len(looks) == 48


def test_text_on_every_colour_is_readable() -> None:
    for n in range(1, 9):
        shade = style.colour(n)
        pair = sorted([style.luminance(shade), style.luminance(style.ink(shade))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, n


def test_what_stands_on_no_known_ground_is_seen_on_white_and_on_dark() -> None:
    dark = style.luminance("#111111")
    for shade, wanted in ((style.MIDDLE, 4.1), (style.QUIET, 4.1), (style.ALARM, 4.0)):
        light = style.luminance(shade)
        assert 1.05 / (light + 0.05) >= wanted
        assert (light + 0.05) / (dark + 0.05) >= wanted


def test_the_ground_is_seen_through_what_is_pale() -> None:
    assert style.pale("#000000", 0.25) == "#00000040"
    assert style.pale("#0072B2", 1.0) == "#0072B2FF"
