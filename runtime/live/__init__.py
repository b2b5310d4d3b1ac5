"""Live translation: the newest frame is translated, older ones are dropped. `starcast live` and its core."""
