"""Styles and motions that change over a film's time."""
