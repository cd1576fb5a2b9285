"""Detections: how outputs become them, and how well they agree with targets."""
