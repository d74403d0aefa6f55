"""The report's pictures: each is drawn from a frame as SVG, at a width, in colours that its page sets.

A picture is drawn twice, for a laptop and for a phone, so that its letters stay readable on both.
"""
